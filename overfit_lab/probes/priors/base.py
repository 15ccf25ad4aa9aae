"""What a prior is, and how one is found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from overfit_lab.config.catalog import PRIORS
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.probes.priors.store import Weights
from overfit_lab.probes.snapshot import Snapshot


class Prior(ABC):
    """Gives theta_0, the mean of the prior in IIW.

    Another prior makes another quantity, so readings with it have the suffix appended to their names.
    """

    def __init__(self, source: str, n_epochs: int) -> None:
        self.source = source
        self.n_epochs = n_epochs

    @property
    def key(self) -> str:
        """What its weights are kept under in memory."""
        return f"{self.source}/{self.n_epochs}"

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

    def to_train(self, snapshot: Snapshot) -> list[TrainedFirst]:
        """What has to be trained before this prior is there; called after :meth:`check`."""
        return []

    @abstractmethod
    def make(self, snapshot: Snapshot) -> Weights:
        """Theta_0 of the snapshot's run, every trainable parameter by name; called after :meth:`check`."""

    def weights(self, snapshot: Snapshot) -> Weights:
        """Theta_0; made once for all snapshots of a run.

        Cost: nothing but the first time.
        """
        made = snapshot.priors.made
        if self.key not in made:
            made[self.key] = self.make(snapshot)
        return made[self.key]


def find_prior(name: str, n_epochs: int) -> Prior:
    """The prior of a name: one that is registered, ``package.module:Class``, else a weights file or run folder.

    Raises:
        ConfigError: a module or a class that cannot be imported.
    """
    is_class = ":" in name and not Path(name.partition("@")[0]).expanduser().exists()
    cls = PRIORS[name] if name in PRIORS or is_class else PRIORS["weights"]
    prior: Prior = cls(name, n_epochs)
    return prior
