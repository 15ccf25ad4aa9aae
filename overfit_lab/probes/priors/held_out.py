"""A prior that is trained on held-out data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from overfit_lab.config import CheckpointConfig, EvaluationConfig, Part, ProbesConfig, RunConfig, to_dict
from overfit_lab.errors import ProbeError, RunFolderError
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.probes.priors.base import Prior
from overfit_lab.probes.priors.store import Weights
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import layout
from overfit_lab.seeds import derive_seed

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
                "train with data.n_val = 2 or more, or with a set that has its own"
            )
        if not snapshot.reference:
            raise ProbeError("prior 'held-out': starts from the run's initial weights (theta_0), which are not known")
        self._stored(snapshot)

    def to_train(self, snapshot: Snapshot) -> list[TrainedFirst]:
        """Itself, where it is neither in memory nor in the run folder."""
        return [] if self.key in snapshot.priors.made or self._stored(snapshot) is not None else [self._first(snapshot)]

    def make(self, snapshot: Snapshot) -> Weights:
        """What is kept in the run folder, else trained now and kept."""
        stored = self._stored(snapshot)
        if stored is not None:
            return stored
        snapshot.priors.train_first(self._first(snapshot))
        return snapshot.priors.made[self.key]

    def _first(self, snapshot: Snapshot) -> TrainedFirst:
        """What is trained: on the validation split in the place of the training split, and nothing else."""
        store, facts = snapshot.priors, self._facts(snapshot)
        if store.config is None:
            raise ProbeError("prior 'held-out': there is no configuration to train with")

        def keep(model: nn.Module, config: RunConfig) -> None:
            store.made[self.key] = {name: p.detach() for name, p in model.named_parameters()}
            if store.folder is not None and store.save:
                tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
                notes = {**facts, "config": config_hash(config), "torch": torch.__version__}
                write_tensors(self._path(store.folder), tensors, {"prior": notes})

        return TrainedFirst(
            name=self.name,
            config=prior_config(store.config, self.n_epochs),
            view=replace(snapshot.data, splits={"train": replace(snapshot.data.splits[SPLIT], name="train")}),
            start=snapshot.reference or {},
            n_epochs=self.n_epochs,
            keep=keep,
        )

    def _path(self, folder: Path) -> Path:
        return layout.prior_path(folder, self.name)

    def _facts(self, snapshot: Snapshot) -> dict[str, Any]:
        """What has to agree for a kept prior to be this one."""
        n = len(snapshot.data.splits[SPLIT])
        return {"kind": "held-out", "epochs": self.n_epochs, "split": SPLIT, "n": n, "seed": snapshot.seed}

    def _stored(self, snapshot: Snapshot) -> Weights | None:
        folder = snapshot.priors.folder
        if folder is None or not self._path(folder).is_file():
            return None
        path = self._path(folder)
        meta, tensors = read_tensors(path, "prior")
        notes = meta.get("prior")
        wanted = self._facts(snapshot)
        recorded = {key: notes.get(key) for key in wanted} if isinstance(notes, dict) else {}
        parameters = dict(snapshot.model.named_parameters())
        stored = {name: tensors.get(f"model/{name}") for name in parameters}
        fits = all(t is not None and t.shape == parameters[name].shape for name, t in stored.items())
        if recorded != wanted or not fits:
            raise RunFolderError(f"{path}: was made for another run or otherwise; delete it to have it trained anew")
        return {name: t.to(parameters[name]) for name, t in stored.items() if t is not None}


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


REGISTER = {"held-out": HeldOutPrior}
