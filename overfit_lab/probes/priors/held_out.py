"""A prior that is trained on held-out data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from overfit_lab.config import CheckpointConfig, EvaluationConfig, Part, ProbesConfig, RunConfig, to_dict
from overfit_lab.errors import ProbeError, RunFolderError
from overfit_lab.probes.priors.base import Prior, PriorStore, Weights
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import layout
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import read_tensors, write_tensors
from overfit_lab.training.events import EventBus, RunEnded, RunStarted
from overfit_lab.training.loop import Session, train_epoch
from overfit_lab.types import Clock, Dataset

DEFAULT_EPOCHS = 10
"""As in the public code of PIB, which trains its priors for 10 epochs on the validation split."""
SPLIT = "val"
NEVER = 10**9


class HeldOutPrior(Prior):
    """Trained on the validation split from the run's initial weights, with the run's own settings.

    Source: PIB (Wang et al. 2022, arXiv 2109.14509) takes a prior that is learned on data apart from the training set;
    its public code (RyanWangZf/PAC-Bayes-IB) trains it for 10 epochs on the validation split by Adam, with early
    stopping on that split, and then draws the model's initial weights anew. Here the prior starts where the run
    starts, so that both lie in one basin, and takes the run's objective, attack, optimiser, augmentation, batch size
    and the first epochs of its schedule, with hard labels and no regularizer, and no early stopping. The validation
    split has no label noise.

    It is a function of the configuration alone. With a run folder it is kept there, so live readings and later ones
    have the same prior; a training that was stopped is done again from its start.

    Cost: ``n_epochs`` epochs over the validation split, once a run.
    """

    @property
    def suffix(self) -> str:
        """``prior-held-out``, with the number of epochs where it is not the default."""
        return f"prior-{self.name}"

    @property
    def name(self) -> str:
        """What it is called in records and on disk."""
        return "held-out" if self.n_epochs == DEFAULT_EPOCHS else f"held-out-{self.n_epochs}"

    def check(self, snapshot: Snapshot) -> None:
        """There is a configuration to train with and a validation split, and what is kept in the folder is sound."""
        if snapshot.priors.config is None:
            raise ProbeError(
                "prior 'held-out': is trained as the run was, and a mere weights file or a loop of one's own does not "
                "say how; give a run folder, or a weights file as prior"
            )
        if len(snapshot.data.splits.get(SPLIT, ())) < 2:
            raise ProbeError(
                "prior 'held-out': is trained on the validation split, and this run has none; "
                "train with data.n_val = 2 or more"
            )
        if not snapshot.reference:
            raise ProbeError("prior 'held-out': starts from the run's initial weights (theta_0), which are not known")
        self._kept(snapshot)

    def make(self, snapshot: Snapshot) -> Weights:
        """What is kept in the run folder, else trained now and kept."""
        kept = self._kept(snapshot)
        if kept is not None:
            return kept
        store = snapshot.priors
        session = train_prior(_config(store), snapshot, self.n_epochs, store.bus(self.name) if store.bus else None)
        if store.folder is not None and store.save:
            tensors = {f"model/{name}": tensor for name, tensor in session.model.state_dict().items()}
            notes = {
                **self._facts(snapshot),
                "config": config_hash(session.config),
                "torch": torch.__version__,
            }
            write_tensors(self._path(store.folder), tensors, {"prior": notes})
        return {name: p.detach() for name, p in session.model.named_parameters()}

    def _path(self, folder: Path) -> Path:
        return layout.prior_path(folder, self.name)

    def _facts(self, snapshot: Snapshot) -> dict[str, Any]:
        """What has to agree for a kept prior to be this one."""
        n = len(snapshot.data.splits[SPLIT])
        return {"kind": "held-out", "epochs": self.n_epochs, "split": SPLIT, "n": n, "seed": snapshot.seed}

    def _kept(self, snapshot: Snapshot) -> Weights | None:
        folder = snapshot.priors.folder
        if folder is None or not self._path(folder).is_file():
            return None
        path = self._path(folder)
        meta, tensors = read_tensors(path, "prior")
        notes = meta.get("prior")
        wanted = self._facts(snapshot)
        found = {key: notes.get(key) for key in wanted} if isinstance(notes, dict) else {}
        parameters = dict(snapshot.model.named_parameters())
        kept = {name: tensors.get(f"model/{name}") for name in parameters}
        fits = all(t is not None and t.shape == parameters[name].shape for name, t in kept.items())
        if found != wanted or not fits:
            raise RunFolderError(f"{path}: was made for another run or otherwise; delete it to have it trained anew")
        return {name: t.to(parameters[name]) for name, t in kept.items() if t is not None}


def _config(store: PriorStore) -> RunConfig:
    if store.config is None:
        raise ProbeError("prior 'held-out': there is no configuration to train with")
    return store.config


def prior_config(config: RunConfig, n_epochs: int) -> RunConfig:
    """The run's configuration as its held-out prior is trained: hard labels, nothing added, random draws of its own.

    The schedule is that of the run, of which the prior goes through the first epochs.
    """
    return config.model_copy(
        update={
            "name": "prior-held-out",
            "seed": derive_seed(config.seed, "prior", "held-out"),
            "epochs": max(config.epochs, n_epochs),
            "labels": Part(name="hard"),
            "regularizers": (),
            "probes": ProbesConfig(),
            "checkpoint": CheckpointConfig(),
            "evaluation": EvaluationConfig(every=NEVER, n_steps=0, n_train=1),
        }
    )


def config_hash(config: RunConfig) -> str:
    """Twelve hexadecimal digits that stand for a configuration."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def train_prior(config: RunConfig, snapshot: Snapshot, n_epochs: int, bus: EventBus | None = None) -> Session:
    """Train on the snapshot's validation split, from its reference.

    Args:
        config: of the run.
        snapshot: gives the data and the weights to start from; not changed.
        n_epochs: how long.
        bus: events of this training go here.

    Returns:
        The session, trained.
    """
    bus = bus if bus is not None else EventBus()
    own = prior_config(config, n_epochs)
    data = held_out_data(snapshot.data)
    with private_streams(own.seed):
        session = build(own, snapshot.device, data=data)
        session.clock = Clock(epoch=0, step=0, n_epochs=n_epochs)
        start_from(session, snapshot.reference or {})
        bus.emit(RunStarted(session.snapshot()))
        while session.clock.epoch < n_epochs:
            train_epoch(session, bus)
        bus.emit(RunEnded("completed", session.clock))
    return session


def held_out_data(data: Dataset) -> Dataset:
    """The validation split in the place of the training split, and nothing else."""
    return replace(data, splits={"train": replace(data.splits[SPLIT], name="train")})


@torch.no_grad()
def start_from(session: Session, reference: Weights) -> None:
    """Put weights into the session's model, and let d be counted from them."""
    for name, parameter in session.model.named_parameters():
        if name in reference:
            parameter.copy_(reference[name])
            session.reference[name].copy_(reference[name])


REGISTER = {"held-out": HeldOutPrior}
