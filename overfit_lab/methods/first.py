"""Models that are trained before something else can begin: a run's teachers, the priors of its probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from overfit_lab.config import RunConfig
from overfit_lab.types import Dataset


@dataclass(frozen=True)
class TrainedFirst:
    """A model to train first.

    Args:
        view: the data that it is trained on in place of the configured ones, in memory; None: it is a run of its own.
        start: parameters to start from, by name; None: those that the configuration draws.
        n_epochs: where training ends; None: where the configuration says.
        keep: takes the model that was trained on a view, and its complete configuration.
    """

    name: str
    config: RunConfig
    view: Dataset | None = None
    start: dict[str, Tensor] | None = None
    n_epochs: int | None = None
    keep: Callable[[nn.Module, RunConfig], None] | None = None
