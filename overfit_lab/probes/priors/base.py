"""What a prior is, and how one is found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import PRIORS

if TYPE_CHECKING:
    from overfit_lab.probes.snapshot import Snapshot

Weights = dict[str, Tensor]
"""Parameters by name, on the model's device."""


@dataclass
class PriorStore:
    """What a snapshot knows of its run for the sake of priors, and those that were made already.

    Args:
        config: the run's configuration; None where training is not ours (a weights file, a monitored loop).
        folder: the run folder that priors are kept in; None: in memory alone.
        save: write a prior that was trained into the folder.
        bus: gives a bus for the events of a prior's training, by the prior's name.
        on_note: told in a line what was taken from a weights file where that is not plain.
        made: theta_0 of each prior that was asked for, by its key.
    """

    config: RunConfig | None = None
    folder: Path | None = None
    save: bool = True
    bus: Callable[[str], Any] | None = None
    on_note: Callable[[str], None] | None = None
    made: dict[str, Weights] = field(default_factory=dict)


class Prior(ABC):
    """Gives theta_0, the mean of the prior in IIW.

    Another prior makes another quantity, so readings with it have the suffix appended to their names.

    Args:
        source: the name as the user gave it.
        n_epochs: epochs to train a prior that is trained.
    """

    def __init__(self, source: str, n_epochs: int) -> None:
        self.source = source
        self.n_epochs = n_epochs

    @property
    @abstractmethod
    def suffix(self) -> str:
        """What is appended to the names of readings with this prior: ``prior-held-out``; "" for the default."""

    @abstractmethod
    def check(self, snapshot: Snapshot) -> None:
        """Refuse a snapshot that this prior cannot be had for; trains and writes nothing.

        Raises:
            ProbeError: the snapshot lacks what the prior needs.
            ConfigError: there is no such file or run.
            WeightsError: weights that are unsafe, damaged or do not fit.
            RunFolderError: what is kept in the run folder is damaged, or there is no such checkpoint.
        """

    @abstractmethod
    def make(self, snapshot: Snapshot) -> Weights:
        """Theta_0 of the snapshot's run, every trainable parameter by name; called after :meth:`check`."""

    def weights(self, snapshot: Snapshot) -> Weights:
        """Theta_0; made once for all snapshots of a run.

        Cost: nothing but the first time.
        """
        made = snapshot.priors.made
        key = f"{self.source}/{self.n_epochs}"
        if key not in made:
            made[key] = self.make(snapshot)
        return made[key]


def find_prior(name: str, n_epochs: int) -> Prior:
    """The prior of a name: one that is registered, ``package.module:Class``, else a weights file or run folder.

    Raises:
        ConfigError: a module or a class that cannot be imported.
    """
    is_class = ":" in name and not Path(name.partition("@")[0]).expanduser().exists()
    cls = PRIORS[name] if name in PRIORS or is_class else PRIORS["weights"]
    prior: Prior = cls(name, n_epochs)
    return prior
