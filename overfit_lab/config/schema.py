"""What a run is: validated, frozen, each key beside what it affects. Imports no component and no torch.

A part that a registry provides (model, objective, label mode, schedule) is a :class:`Part`: a name and free options.
The options are checked against the component itself by :func:`~.training.complete.complete`, which also fills in their
defaults, so that the configuration a run writes down is complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from overfit_lab.config.permission import allow, strings_of
from overfit_lab.config.quantities import Moment, Pixels, Share, Size
from overfit_lab.files.limits import EPOCHS, THREADS


class Affects(Enum):
    """What a key of the configuration changes; :mod:`overfit_lab.records.identity` draws the conclusions."""

    TASK = "what is learnt, by what network, against what"
    METHOD = "how it is trained"
    SEED = "random draws alone"
    MEASURE = "what a recorded accuracy means"
    RECORDS = "which numbers are recorded and what is kept"
    SPEED = "how fast and in how much memory; numbers are equal up to rounding"
    NOTHING = "what the run is called, where its data lie, and on how many threads it is trained"


T = TypeVar("T")
Task = Annotated[T, Affects.TASK]
Method = Annotated[T, Affects.METHOD]
Seed = Annotated[T, Affects.SEED]
Measure = Annotated[T, Affects.MEASURE]
Records = Annotated[T, Affects.RECORDS]
Speed = Annotated[T, Affects.SPEED]
Nothing = Annotated[T, Affects.NOTHING]


def split_names(value: Any) -> Any:
    """Names in one text as several; text that says none as none at all."""
    if value is None or value in ("none", ""):
        return ()
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[T, ...], BeforeValidator(split_names)]
"""A list of names; ``"a,b"`` is one too."""


class Options(BaseModel):
    """Base of every group of options: frozen, unknown keys refused, text numbers of the right kind accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Part(BaseModel):
    """A component by name, with its own options beside it (checked when the run is built)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options without the name."""
        return dict(self.model_extra or {})


class NoiseConfig(Options):
    """Label noise of the training split (SGLR, section 2)."""

    kind: Task[Literal["none", "symmetric", "symmetric-flip", "asymmetric"]] = "none"
    rate: Task[float] = Field(0.0, ge=0, le=1, description="eta, the share of labels that the noise is applied to")

    @model_validator(mode="after")
    def _rate_has_a_kind(self) -> NoiseConfig:
        if self.kind == "none" and self.rate > 0:
            raise ValueError(
                f"rate {self.rate} needs a kind of noise: kind is 'none', "
                "use 'symmetric', 'symmetric-flip' or 'asymmetric'"
            )
        return self


class SplitsConfig(Options):
    """Which folder, or which beginning of the files' names, is which split, where a set's names do not say it."""

    train: Task[Names[str]] = Field((), description="name of the training split in the source; several by commas")
    val: Task[Names[str]] = Field((), description="name of the validation split in the source")
    test: Task[Names[str]] = Field((), description="name of the test split in the source")


class ColumnsConfig(Options):
    """Which column of a Parquet file, or which ending in a shard, holds what."""

    image: Task[str | None] = Field(None, description="column of the encoded images; in shards the ending, such as jpg")
    label: Task[str | None] = Field(None, description="column of the labels; in shards the ending, such as cls")


class DataConfig(Options):
    """Which images, how many, how augmented, with which label noise, and whether they are decoded beforehand."""

    name: Task[str] = Field(
        "digits",
        min_length=1,
        description="a data set's name, parquet:DIR, imagefolder:DIR, webdataset:DIR or package.module:function",
    )
    root: Nothing[str | None] = Field(
        None, description="folder of downloaded sets; default: OVERFIT_LAB_DATA or ~/.cache"
    )
    download: Nothing[bool] = Field(False, description="fetch the set if it is absent")
    n_train: Task[int | None] = Field(None, ge=1, description="training samples; null: all that are left")
    splits: SplitsConfig = SplitsConfig()
    columns: ColumnsConfig = ColumnsConfig()
    n_val: Method[int] = Field(
        0, ge=0, description="validation samples, of the set's own validation split (0: all of it), else of training"
    )
    n_test: Task[int | None] = Field(None, ge=1, description="test samples; null: all")
    augment: Method[Names[Literal["resized-crop", "crop", "flip", "cutout"]]] = ()
    crop_scale: Method[tuple[float, float]] = Field(
        (0.08, 1.0), description="least and most share of an image's area that resized-crop takes"
    )
    crop_padding: Method[int] = Field(4, ge=0, description="zero pixels added on each side before the random crop")
    cutout_size: Method[int] = Field(8, ge=1, description="side of the square that cutout blanks, in pixels")
    noise: NoiseConfig = NoiseConfig()
    seed: Seed[int | None] = Field(None, ge=0, description="seed of split and noise; null: the run's seed")
    image_size: Task[int | None] = Field(
        None,
        ge=1,
        description="side of the square that is cut out of a resized image's centre; null: images as they are",
    )
    shorter_side: Task[int | None] = Field(
        None, ge=1, description="length of the resized image's shorter side; null: image_size"
    )
    stream: Speed[bool | Literal["auto"]] = Field(
        "auto", description="decode images when they are needed; auto: where the decoded set is beyond memory_limit"
    )
    memory_limit: Speed[Size | None] = Field(
        None, description="most for decoded images, such as 8GB; null: half of the device's and host's free memory"
    )
    workers: Speed[int | None] = Field(
        None, ge=0, description="threads that decode a streamed set; null: one a core, at most 16; 0: the training one"
    )
    prefetch: Speed[int] = Field(2, ge=0, description="batches of a streamed set that are decoded ahead")

    @field_validator("crop_scale")
    @classmethod
    def _are_shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("expected two shares of an area, 0 < least <= most <= 1")
        return value

    @model_validator(mode="after")
    def _sides_go_together(self) -> DataConfig:
        if self.shorter_side is not None and (self.image_size is None or self.shorter_side < self.image_size):
            raise ValueError(f"shorter_side {self.shorter_side} needs an image_size that is no larger")
        return self


L2_DEFAULTS = {"eps": "128/255", "step_size": "15/255"}


class AttackConfig(Options):
    """The training attack and its threat model (Madry18)."""

    name: Method[str] = "pgd"
    norm: Task[Literal["linf", "l2"]] = "linf"
    eps: Task[Pixels] = Field(
        8 / 255, ge=0, description="radius of the ball, in [0,1] pixels; 128/255 for l2 if not given"
    )
    step_size: Method[Pixels] = Field(2 / 255, ge=0, description="15/255 for l2 if not given")
    n_steps: Method[int] = Field(10, ge=0)
    n_restarts: Method[int] = Field(1, ge=1)
    random_start: Method[bool] = True
    bn_mode: Method[Literal["eval", "train"]] = Field(
        "eval", description="mode of batch norm while attacking in training"
    )
    eps_schedule: Method[Part] = Field(
        Part(name="constant"), description="a schedule whose factor multiplies eps and step size in training"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_norm(cls, values: Any) -> Any:
        """The usual radius and step of the l_2 threat model (Rice et al. 2020) where none are given."""
        if isinstance(values, Mapping) and values.get("norm") == "l2":
            return {**L2_DEFAULTS, **values}
        return values


class EvaluationConfig(Options):
    """What is measured during training, on how many samples and how hard it is attacked."""

    every: Records[int] = Field(1, ge=1, description="epochs between evaluations; the last epoch is always evaluated")
    attack: Measure[str] = Field("pgd", description="attack of the robust accuracy, in the threat model of training")
    corruption: Measure[str | None] = Field(
        None, description="a noise of the same size to evaluate under as well: gaussian-noise or random-pixels"
    )
    n_steps: Measure[int] = Field(20, ge=0)
    step_size: Measure[Pixels | None] = Field(None, ge=0, description="null: the training attack's")
    n_restarts: Measure[int] = Field(1, ge=1)
    n_queries: Measure[int] = Field(5000, ge=1, description="forward passes of Square, which makes black-box inputs")
    n_train: Measure[int | None] = Field(1000, ge=1, description="fixed subset of the training split; null: all")
    n_test: Measure[int | None] = Field(None, ge=1, description="fixed subset of the test split; null: all")
    n_val: Measure[int | None] = Field(None, ge=1, description="fixed subset of the validation split; null: all")
    chunk: Speed[int] = Field(256, ge=1, description="samples per forward pass in evaluation and probes")


class OptimizerConfig(Options):
    """Stochastic gradient descent with momentum."""

    name: Method[Literal["sgd"]] = "sgd"
    lr: Method[float] = Field(0.1, gt=0)
    momentum: Method[float] = Field(0.9, ge=0, lt=1)
    weight_decay: Method[float] = Field(5e-4, ge=0)
    nesterov: Method[bool] = False
    warmup: Method[Moment] = Field(0, description="the rate rises linearly from 0 to that of the schedule until here")


class ProbesConfig(Options):
    """Which probes listen, how often, on how many samples."""

    every: Records[int] = Field(5, ge=1, description="epochs between measurements; the last epoch is always measured")
    metrics: Records[Names[str]] = ()
    n: Records[int | None] = Field(
        None, ge=1, description="size of the fixed probe subset; null: each probe's own choice"
    )
    splits: Records[Names[Literal["train", "val", "test"]]] = Field((), description="empty: each probe's own choice")
    inputs: Records[Names[Literal["clean", "adversarial", "noisy", "black-box"]]] = Field(
        (), description="empty: each probe's own choice"
    )
    options: Records[dict[str, dict[str, Any]]] = Field(
        default_factory=dict, description="a probe's own options, by its name"
    )
    budget: Records[Share | None] = Field(
        None, description="most time for probing as a share of that of training, such as 5%; sizes are chosen to fit"
    )


class DynamicsConfig(Options):
    """What is kept of the outputs that training computes anyway, sample by sample; see docs/dynamics.md."""

    keep: Records[Literal["auto", "full", "compact", "running", "none"]] = Field(
        "auto",
        description="full: five numbers an epoch; compact: margin and predicted class in a byte each; running: "
        "statistics over epochs alone; auto: full up to 20 million samples times epochs, then running; none: nothing",
    )


class CheckpointConfig(Options):
    """Which weights are kept: initial, last and best always, and every k-th epoch where k is given."""

    every: Records[int] = Field(0, ge=0, description="epochs between kept checkpoints; 0: only initial, last and best")
    steps: Records[int] = Field(
        0, ge=0, description="steps between checkpoints to resume from within an epoch; 0: none"
    )


class ComputeConfig(Options):
    """How the arithmetic is done. `auto` takes what the device is best at; what was taken is in run.json."""

    precision: Method[Literal["auto", "fp32", "bf16"]] = Field(
        "auto", description="of training; auto: bf16 where the device multiplies it faster and the network is worth it"
    )
    compile: Speed[bool | Literal["auto"]] = "auto"
    channels_last: Speed[bool | Literal["auto"]] = "auto"
    graph: Speed[bool | Literal["auto"]] = Field(
        "auto",
        description="the training attack as one CUDA graph; auto: on CUDA, for pgd and our own objectives",
    )
    threads: Nothing[Annotated[int, Field(ge=1, le=THREADS)] | Literal["auto"]] = Field(
        "auto", description="of torch on the CPU; auto: all that torch would take where a step is worth sharing, else 1"
    )
    fold: Speed[bool] = Field(True, description="attacks in eval mode climb on a network whose batch norm is folded")
    batch_norm: Method[Literal["synchronised", "per-device"]] = Field(
        "synchronised", description="with several devices: statistics of the whole batch, or of each device's part"
    )
    label_memory: Speed[Literal["auto", "device", "disk"]] = Field(
        "auto", description="where a label mode keeps its row of each sample; auto: on disk beyond label_memory_limit"
    )
    label_memory_limit: Speed[Size] = Field("1GB", description="most for rows on the device, n K 4 bytes, such as 1GB")


class MonitoredConfig(Options):
    """What the training loop that a monitor looks at said of itself; all other keys of a monitored run are unknown."""

    known: Task[Names[str]] = Field((), description="keys, or groups of them, that a monitor knows; empty: all")
    method: Method[str | None] = Field(None, description="the method in the user's words, such as PGD-AT + LS")
    config: Method[dict[str, Any]] = Field(default_factory=dict, description="settings of the user's own")
    tags: Nothing[Names[str]] = Field((), description="words to find the run by")
    data: Task[dict[str, Any]] = Field(
        default_factory=dict, description="what data and network show of themselves: sizes, classes, parameters"
    )


FROM_CONTENT = {"from": "content"}
"""Context of a validation whose content may have been read: to validate it allows nothing."""


class RunConfig(Options):
    """One training run. Two runs of equal configuration give equal numbers on the same machine."""

    name: Nothing[str] = Field("run", min_length=1, description="the recipe it came from; names the run folder")
    seed: Seed[int] = Field(0, ge=0)
    epochs: Method[int] = Field(100, ge=1, le=EPOCHS)
    batch_size: Method[int] = Field(128, ge=1)
    data: DataConfig = DataConfig()
    model: Task[Part] = Part(name="mlp")
    attack: AttackConfig = AttackConfig()
    objective: Method[Part] = Part(name="pgd-at")
    labels: Method[Part] = Part(name="hard")
    regularizers: Method[tuple[Part, ...]] = Field(
        (), description="what is added to the objective, applied in this order"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Method[Part] = Part(name="piecewise")
    evaluation: EvaluationConfig = EvaluationConfig()
    probes: ProbesConfig = ProbesConfig()
    dynamics: DynamicsConfig = DynamicsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    when_diverged: Nothing[Literal["stop", "continue"]] = Field(
        "stop", description="what follows an epoch whose loss or weights were not finite"
    )
    compute: ComputeConfig = ComputeConfig()
    monitored: MonitoredConfig = MonitoredConfig()

    @property
    def is_monitored(self) -> bool:
        """Whether somebody else's loop trains, of which only some keys are known."""
        return bool(self.monitored.known)

    def knows(self, key: str) -> bool:
        """Whether a key, or group of keys, says what was done; else its value is a default that nobody chose."""
        prefixes = tuple(f"{known}." for known in (*self.monitored.known, "name", "monitored"))
        return not self.is_monitored or f"{key}.".startswith(prefixes)

    @field_validator("regularizers", mode="before")
    @classmethod
    def _names_are_parts(cls, value: Any) -> Any:
        value = (value,) if isinstance(value, Mapping) else split_names(value)
        if not isinstance(value, (list, tuple)):
            raise ValueError("expected a list of regularizers, such as [awp, swa]")
        return value

    @field_validator("regularizers")
    @classmethod
    def _each_once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        names = [part.name for part in parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed {names.count(name)} times; expected each at most once")
        return parts

    @model_validator(mode="after")
    def _names_are_the_users(self, info: ValidationInfo) -> RunConfig:
        """Code that is named where a configuration is written in Python may be imported; a file's may not."""
        if info.context is not FROM_CONTENT and info.mode == "python":  # JSON text is nothing that Python says
            allow(*strings_of(self.model_dump(mode="json")))
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", value):
            raise ValueError(
                "expected at most 200 letters, digits, '-', '_' and '.', beginning with a letter or a digit"
            )
        return value
