"""What priors know of the run that they are measured for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from overfit_lab.config import RunConfig
from overfit_lab.errors import ProbeError
from overfit_lab.methods.first import TrainedFirst

Weights = dict[str, Tensor]
"""Parameters by name, on the model's device."""
Train = Callable[[TrainedFirst, Any], tuple[nn.Module, RunConfig]]
"""Trains a model in memory, with events on a bus or None; gives it and its complete configuration."""


@dataclass
class PriorStore:
    """What a snapshot knows of its run for the sake of priors, and those that were made already.

    Args:
        config: the run's configuration; None where training is not ours (a weights file, a monitored loop).
        train: trains a prior that is trained; None where ``config`` is.
        save: write a prior that was trained into the folder.
        bus: gives a bus for the events of a prior's training, by the prior's name.
        folder: the run folder that priors are kept in; None: in memory alone.
        on_note: told in a line what was taken from a weights file where that is not plain.
        made: theta_0 of each prior that was asked for, by its key.
    """

    config: RunConfig | None = None
    train: Train | None = None
    folder: Path | None = None
    save: bool = True
    bus: Callable[[str], Any] | None = None
    on_note: Callable[[str], None] | None = None
    made: dict[str, Weights] = field(default_factory=dict)

    def train_first(self, first: TrainedFirst) -> None:
        """Train a prior on its view of the data and have it kept.

        Raises:
            ProbeError: there is no run to train it as.
        """
        if self.train is None:
            raise ProbeError(f"prior {first.name!r}: there is nothing to train it with")
        trained = self.train(first, self.bus(first.name) if self.bus is not None else None)
        if first.keep is not None:
            first.keep(*trained)
