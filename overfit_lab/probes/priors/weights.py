"""Weights that are there already as prior: a weights file, or a checkpoint of a run."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.escape import for_file
from overfit_lab.models.weights import TORCH_SUFFIXES, load_into, load_weights
from overfit_lab.probes.priors.base import Prior
from overfit_lab.probes.priors.store import Weights
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import layout

FILE_SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")


class WeightsPrior(Prior):
    """A weights file of the same architecture, or ``RUN`` or ``RUN@CHECKPOINT`` (best unless one is named).

    Names of readings hold the file's or the run's name, and four digits that tell apart sources of equal names.
    """

    @property
    def suffix(self) -> str:
        """``prior-NAME-DIGITS``; it depends on the text that the user gave alone."""
        name, _, checkpoint = self.source.partition("@")
        path = Path(name)
        label = path.stem if path.suffix in FILE_SUFFIXES else f"{path.name}-{checkpoint or 'best'}"
        return f"prior-{for_file(label)}-{hashlib.sha256(self.source.encode()).hexdigest()[:4]}"

    def check(self, snapshot: Snapshot) -> None:
        """The file is there, is safe to read, and fits the model."""
        self.weights(snapshot)

    def make(self, snapshot: Snapshot) -> Weights:
        """The parameters of the file. Cost: a copy of the model while it is read."""
        path = self._path()
        model = copy.deepcopy(snapshot.model)
        taken = load_into(model, load_weights(path))
        if taken and snapshot.priors.on_note is not None:
            snapshot.priors.on_note(f"{path}: {taken}")
        return {name: p.detach() for name, p in model.named_parameters()}

    def _path(self) -> Path:
        source = Path(self.source).expanduser()
        if source.is_file():
            return source
        name, _, checkpoint = self.source.partition("@")
        folder = source if source.is_dir() else Path(name).expanduser()
        if not folder.is_dir():
            raise ConfigError(
                f"prior {self.source!r}: no such run folder or weights file; "
                "expected initial, held-out, RUN, RUN@CHECKPOINT or a weights file"
            )
        paths = layout.checkpoint_paths(layout.check_run(folder), checkpoint or "best")
        if len(paths) != 1:
            raise RunFolderError(f"prior {self.source!r}: a prior is one checkpoint, got {len(paths)}")
        return paths[0]


REGISTER = {"weights": WeightsPrior}
