"""Other models that a run learns from: of a run, of a weights file, or trained first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from overfit_lab.config import CheckpointConfig, Part, ProbesConfig, RunConfig, load_config
from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.config.trust import check_trusted
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.digests import image_digests
from overfit_lab.errors import ConfigError
from overfit_lab.files.escape import for_file
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.models.factory import build_model
from overfit_lab.models.weights import load_into, load_weights
from overfit_lab.records import layout
from overfit_lab.types import Dataset

TRAINED_FIRST = "train:"
FOLDER = "teachers"
"""Where a run keeps the teachers that it trained first."""
MOST_IN_COMMON = 0.01
"""Share of a split that a teacher may have been trained on: public sets have a few images twice."""


class Teacher:
    """A frozen model in eval mode; loaded when it is first called."""

    def __init__(self, load: Callable[[], nn.Module]) -> None:
        self._load = load
        self._model: nn.Module | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, K) float32 of images in [0, 1] (B, C, H, W), without gradients.

        Cost: one forward pass.
        """
        if self._model is None:
            self._model = self._load().eval().requires_grad_(False)
        return self._model(x).float()  # type: ignore[no-any-return]


class Teachers:
    """The teachers of one run.

    A teacher is named by ``RUN`` or ``RUN@CHECKPOINT`` (a run folder; its best checkpoint unless one is named), by a
    weights file of this run's architecture, or by ``train:OBJECTIVE``: a model of this run's own data, architecture,
    attack and length with that objective, hard labels and nothing added, which is trained first into the run's folder.

    Args:
        trust: import the code that a teacher's configuration names.

    ``load`` gives the network of a name; it may be replaced before the first prediction.
    """

    def __init__(self, config: RunConfig, data: Dataset, device: torch.device, *, trust: bool = False) -> None:
        self.config = config
        self.data = data
        self.device = device
        self.trust = trust
        self.folder: Path | None = None
        self.sources: list[str] = []
        self.load: Callable[[str], nn.Module] = self._load

    def __call__(self, source: str) -> Teacher:
        """The teacher of that name; it need not exist yet."""
        self.sources.append(source)
        return Teacher(lambda: self.load(source))

    def check(self) -> None:
        """Refuse teachers that cannot be loaded, and those that were trained on this run's test or validation images.

        Raises:
            ConfigError: an unknown objective, no such file, a model of other images or classes, or a leak.
            RunFolderError: no such run or checkpoint.
            WeightsError: weights that do not fit.
        """
        self.to_train()
        for source in self.sources:
            if not source.startswith(TRAINED_FIRST):
                self.load(source)
                self._check_leak(source)

    def to_train(self) -> list[TrainedFirst]:
        """Teachers to train first, as runs of their own."""
        names = [source.removeprefix(TRAINED_FIRST) for source in self.sources if source.startswith(TRAINED_FIRST)]
        return [TrainedFirst(name, teacher_config(self.config, name)) for name in dict.fromkeys(names)]

    def path(self, name: str) -> Path:
        """The run folder of a teacher that is trained first.

        Raises:
            ConfigError: the run has no folder.
        """
        if self.folder is None:
            raise ConfigError(f"teacher 'train:{name}' is trained into the run's folder, and this run has none")
        return self.folder / FOLDER / for_file(name)

    def _check_leak(self, source: str) -> None:
        """A teacher that saw a run's test images would tell it about them."""
        folder = Path(source.partition("@")[0]).expanduser()
        if not folder.is_dir():
            return
        other = load_config(layout.config_path(folder))
        if other.data.name != self.config.data.name or split_key(other) == split_key(self.config):
            return
        seen = set(image_digests(load_dataset(other.data, other.seed, "cpu").splits["train"].x))
        for name in ("val", "test"):
            split = self.data.splits.get(name)
            n_seen = sum(image in seen for image in image_digests(split.x)) if split is not None else 0
            if split is not None and n_seen > MOST_IN_COMMON * len(split):
                raise ConfigError(
                    f"teacher {source!r}: was trained on {n_seen} of the {len(split)} images of this run's {name} "
                    f"split; train it with data.seed = {data_seed(self.config)}, or name train:OBJECTIVE"
                )

    def _load(self, source: str) -> nn.Module:
        if source.startswith(TRAINED_FIRST):
            return self._from_run(self.path(source.removeprefix(TRAINED_FIRST)), "best")
        name, _, checkpoint = source.partition("@")
        path = Path(name).expanduser()
        if path.is_dir():
            return self._from_run(path, checkpoint or "best")
        if not path.is_file():
            raise ConfigError(f"teacher {source!r}: no such run folder or weights file (train:OBJECTIVE trains one)")
        model = build_model(self.config.model, self.data, self.device, seed=self.config.seed)
        load_into(model, load_weights(path))
        return model

    def _from_run(self, folder: Path, checkpoint: str) -> nn.Module:
        config = load_config(layout.config_path(layout.check_run(folder)))
        check_trusted(config, str(folder), trust=self.trust)
        (path,) = layout.checkpoint_paths(folder, checkpoint)
        model = build_model(config.model, self.data, self.device, seed=config.seed)
        load_into(model, load_weights(path))
        return model


def data_seed(config: RunConfig) -> int:
    """The seed of a run's split."""
    return config.seed if config.data.seed is None else config.data.seed


def split_key(config: RunConfig) -> tuple[object, ...]:
    """What a run's split depends on."""
    return (config.data.n_train, config.data.n_val, config.data.n_test, data_seed(config))


def teacher_config(config: RunConfig, objective: str) -> RunConfig:
    """The configuration of a teacher that is trained first; see :class:`Teachers`.

    Raises:
        ConfigError: no such objective.
    """
    OBJECTIVES[objective]
    return config.model_copy(
        update={
            "name": f"teacher-{objective}".replace(":", "-"),
            "objective": Part(name=objective),
            "labels": Part(name="hard"),
            "regularizers": (),
            "probes": ProbesConfig(),
            "checkpoint": CheckpointConfig(),
        }
    )
