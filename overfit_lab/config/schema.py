"""What a run is: validated, frozen, and the same after a trip through YAML. Imports no component and no torch.

A part that a registry provides (model, objective, label mode, schedule) is a :class:`Part`: a name and free options.
The options are checked against the component itself by :func:`~.training.build.complete`, which also fills in their
defaults, so that the configuration a run writes down is complete.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from overfit_lab.config.permission import allow, strings_of
from overfit_lab.errors import ConfigError, unknown_name


def parse_fraction(value: Any) -> Any:
    """A number, also when written as a fraction: ``"8/255"`` is 8 divided by 255."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{value!r} is not a number or a fraction such as 8/255") from error
    return value


def format_pixels(value: float) -> float | str:
    """The way a pixel distance is written: as k/255 where that is exactly the number."""
    whole = round(value * 255)
    if whole > 0 and whole / 255 == value:
        return f"{whole}/255"
    return value


Pixels = Annotated[
    float,
    BeforeValidator(parse_fraction),
    PlainSerializer(format_pixels, return_type=float | str, when_used="always"),
]
"""A distance in pixel units of [0, 1]; accepts and prints fractions such as 8/255."""


def check_moment(value: Any) -> int | str:
    """An epoch, or a share of the run such as ``"50%"``.

    Raises:
        ValueError: neither a whole number >= 0 nor a percentage in 0%..100%.
    """
    if isinstance(value, str) and value.endswith("%"):
        try:
            share = float(value[:-1])
        except ValueError:
            share = -1.0
        if not 0 <= share <= 100:
            raise ValueError(f"{value!r} is not a share of the run between 0% and 100%")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is neither an epoch (a whole number) nor a share of the run such as '50%'")
    try:
        epoch = int(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is neither an epoch (a whole number) nor a share such as '50%'") from error
    if epoch < 0:
        raise ValueError(f"{value!r}: an epoch is 0 or more")
    return epoch


Moment = Annotated[int | str, BeforeValidator(check_moment)]
"""A point in training: a number of completed epochs, or a share of the run such as ``"50%"``."""


def resolve_moment(moment: int | str, n_epochs: int) -> int:
    """The number of completed epochs that a :data:`Moment` stands for in a run of ``n_epochs`` (rounded down)."""
    if isinstance(moment, str):
        return math.floor(float(moment[:-1]) / 100 * n_epochs + 1e-9)
    return moment


def parse_share(value: Any) -> float:
    """A share of something in (0, 1], from text such as ``"5%"``.

    Raises:
        ValueError: anything else.
    """
    try:
        share = float(value[:-1]) / 100 if isinstance(value, str) and value.strip().endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{value!r}: expected a share above 0% and up to 100%, such as '5%'")
    return share


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(value: str) -> int:
    """Bytes, from text such as ``"8GB"`` (10^9 bytes) or ``"512MiB"`` (2^20 bytes).

    Raises:
        ValueError: anything else, or nothing at all.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", value, re.IGNORECASE)
    size = 0
    if found is not None:
        unit = UNITS[found[2].upper()]
        size = int(float(found[1]) * (1024 ** (len(str(unit)) // 3) if found[3] else unit))
    if size <= 0:
        raise ValueError(f"{value!r}: expected a size above 0 such as 8GB or 512MiB")
    return size


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


class Younger(Options):
    """A group with options that came after the first run folders: they are written only where they were set.

    So a run that does without them is written down, compared and hashed as before they were there.
    """

    younger: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        unused = [name for name in self.younger if getattr(self, name) == fields[name].default]
        return {key: value for key, value in content.items() if key not in unused}


class NoiseConfig(Options):
    """Label noise of the training split (SGLR, section 2)."""

    kind: Literal["none", "symmetric", "symmetric-flip", "asymmetric"] = "none"
    rate: float = Field(0.0, ge=0, le=1, description="eta, the share of labels that the noise is applied to")

    @model_validator(mode="after")
    def _rate_has_a_kind(self) -> NoiseConfig:
        if self.kind == "none" and self.rate > 0:
            raise ValueError(
                f"rate {self.rate} needs a kind of noise: kind is 'none', "
                "use 'symmetric', 'symmetric-flip' or 'asymmetric'"
            )
        return self


AUGMENTATIONS = ("resized-crop", "crop", "flip", "cutout")


class DataConfig(Younger):
    """Which images, how many, how augmented, with which label noise, and whether they are decoded beforehand."""

    younger: ClassVar[frozenset[str]] = frozenset(
        ("crop_scale", "image_size", "shorter_side", "stream", "memory_limit", "workers", "prefetch")
    )

    name: str = Field(
        "digits",
        min_length=1,
        description="a data set's name, parquet:DIR, imagefolder:DIR, webdataset:DIR or package.module:function",
    )
    root: str | None = Field(None, description="folder of downloaded sets; default: OVERFIT_LAB_DATA or ~/.cache")
    download: bool = Field(False, description="fetch the set if it is absent")
    n_train: int | None = Field(None, ge=1, description="training samples; null: all that are left")
    n_val: int = Field(0, ge=0, description="validation samples, taken from the training part")
    n_test: int | None = Field(None, ge=1, description="test samples; null: all")
    augment: tuple[Literal["resized-crop", "crop", "flip", "cutout"], ...] = ()
    crop_scale: tuple[float, float] = Field(
        (0.08, 1.0), description="least and most share of an image's area that resized-crop takes"
    )
    crop_padding: int = Field(4, ge=0, description="zero pixels added on each side before the random crop")
    cutout_size: int = Field(8, ge=1, description="side of the square that cutout blanks, in pixels")
    noise: NoiseConfig = NoiseConfig()
    seed: int | None = Field(None, ge=0, description="seed of split and noise; null: the run's seed")
    image_size: int | None = Field(
        None,
        ge=1,
        description="side of the square that is cut out of a resized image's centre; null: images as they are",
    )
    shorter_side: int | None = Field(
        None, ge=1, description="length of the resized image's shorter side; null: image_size"
    )
    stream: bool | Literal["auto"] = Field(
        "auto", description="decode images when they are needed; auto: where the decoded set is beyond memory_limit"
    )
    memory_limit: str | None = Field(
        None, description="most for decoded images, such as 8GB; null: half of the device's and host's free memory"
    )
    workers: int | None = Field(
        None, ge=0, description="threads that decode a streamed set; null: one a core, at most 16; 0: the training one"
    )
    prefetch: int = Field(2, ge=0, description="batches of a streamed set that are decoded ahead")

    @field_validator("memory_limit")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value

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

    @field_validator("augment", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if value is None or value == "none" or value == "":
            return ()
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value


L2_DEFAULTS = {"eps": "128/255", "step_size": "15/255"}


class AttackConfig(Options):
    """The training attack and its threat model (Madry18)."""

    name: str = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    eps: Pixels = Field(8 / 255, ge=0, description="radius of the ball, in [0,1] pixels; 128/255 for l2 if not given")
    step_size: Pixels = Field(2 / 255, ge=0, description="15/255 for l2 if not given")
    n_steps: int = Field(10, ge=0)
    n_restarts: int = Field(1, ge=1)
    random_start: bool = True
    bn_mode: Literal["eval", "train"] = Field("eval", description="mode of batch norm while attacking in training")
    eps_schedule: Part = Field(
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

    every: int = Field(1, ge=1, description="epochs between evaluations; the last epoch is always evaluated")
    attack: str = Field("pgd", description="attack of the robust accuracy, in the threat model of training")
    corruption: str | None = Field(
        None, description="a noise of the same size to evaluate under as well: gaussian-noise or random-pixels"
    )
    n_steps: int = Field(20, ge=0)
    step_size: Pixels | None = Field(None, ge=0, description="null: the training attack's")
    n_restarts: int = Field(1, ge=1)
    n_queries: int = Field(5000, ge=1, description="forward passes of Square, which makes black-box inputs")
    n_train: int | None = Field(1000, ge=1, description="fixed subset of the training split; null: all")
    n_test: int | None = Field(None, ge=1, description="fixed subset of the test split; null: all")
    n_val: int | None = Field(None, ge=1, description="fixed subset of the validation split; null: all")
    chunk: int = Field(256, ge=1, description="samples per forward pass in evaluation and probes")


class OptimizerConfig(Options):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    nesterov: bool = False
    warmup: Moment = Field(0, description="the rate rises linearly from 0 to that of the schedule until here")


class ProbesConfig(Options):
    """Which probes listen, how often, on how many samples."""

    every: int = Field(5, ge=1, description="epochs between measurements; the last epoch is always measured")
    metrics: tuple[str, ...] = ()
    n: int | None = Field(None, ge=1, description="size of the fixed probe subset; null: each probe's own choice")
    splits: tuple[Literal["train", "val", "test"], ...] = Field((), description="empty: each probe's own choice")
    inputs: tuple[Literal["clean", "adversarial", "noisy", "black-box"], ...] = Field(
        (), description="empty: each probe's own choice"
    )
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="a probe's own options, by its name")
    budget: str | None = Field(
        None, description="most time for probing as a share of that of training, such as 5%; sizes are chosen to fit"
    )

    @field_validator("budget")
    @classmethod
    def _is_a_share(cls, value: str | None) -> str | None:
        if value is not None:
            parse_share(value)
        return value

    @field_validator("metrics", "splits", "inputs", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if value is None or value == "none" or value == "":
            return ()
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value


class CheckpointConfig(Younger):
    """Which weights are kept: initial, last and best always, and every k-th epoch where k is given."""

    younger: ClassVar[frozenset[str]] = frozenset(("steps",))

    every: int = Field(0, ge=0, description="epochs between kept checkpoints; 0: only initial, last and best")
    steps: int = Field(0, ge=0, description="steps between checkpoints to resume from within an epoch; 0: none")


class ComputeConfig(Younger):
    """How the arithmetic is done. `auto` takes what the device is best at; what was taken is in run.json."""

    younger: ClassVar[frozenset[str]] = frozenset(("label_memory", "label_memory_limit", "batch_norm"))

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    fold: bool = Field(True, description="attacks in eval mode climb on a network whose batch norm is folded")
    batch_norm: Literal["synchronised", "per-device"] = Field(
        "synchronised", description="with several devices: statistics of the whole batch, or of each device's part"
    )
    label_memory: Literal["auto", "device", "disk"] = Field(
        "auto", description="where a label mode keeps its row of each sample; auto: on disk beyond label_memory_limit"
    )
    label_memory_limit: str = Field("1GB", description="most for rows on the device, n K 4 bytes, such as 1GB")

    @field_validator("label_memory_limit")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        parse_size(value)
        return value


FROM_FILE = {"from": "file"}
"""Context of a validation whose content was read, not written by the user in Python."""


class RunConfig(Options):
    """One training run. Two runs of equal configuration give equal numbers on the same machine."""

    name: str = Field("run", min_length=1, description="the recipe it came from; names the run folder")
    seed: int = Field(0, ge=0)
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(128, ge=1)
    data: DataConfig = DataConfig()
    model: Part = Part(name="mlp")
    attack: AttackConfig = AttackConfig()
    objective: Part = Part(name="pgd-at")
    labels: Part = Part(name="hard")
    regularizers: tuple[Part, ...] = Field((), description="what is added to the objective, applied in this order")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Part = Part(name="piecewise")
    evaluation: EvaluationConfig = EvaluationConfig()
    probes: ProbesConfig = ProbesConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    compute: ComputeConfig = ComputeConfig()

    @field_validator("regularizers", mode="before")
    @classmethod
    def _names_are_parts(cls, value: Any) -> Any:
        if value is None or value in ("none", ""):
            return ()
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, Mapping):
            return (value,)
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
        if info.context is not FROM_FILE:
            allow(*strings_of(self.model_dump(mode="json")))
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
            raise ValueError("expected letters, digits, '-', '_' and '.', beginning with a letter or a digit")
        return value


def parse_config(content: Any, source: str = "configuration") -> RunConfig:
    """A validated configuration from nested dicts.

    Raises:
        ConfigError: one line that names the first wrong key, its value and what would be right.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source}: expected keys and values, got {type(content).__name__}")
    try:
        return RunConfig.model_validate(dict(content), context=FROM_FILE)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, RunConfig)) from error


def describe_validation_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of a pydantic error as one line: key, value, what would be right, and how many more."""
    problems = error.errors(include_url=False)
    first = problems[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(part for part in [prefix, *path] if part)
    if first["type"] == "extra_forbidden":
        known = known_keys(model, path[:-1])
        if known:
            text = str(unknown_name("key", key.rsplit(".", 1)[-1], known))
            text = f"{key}: {text}" if "." in key else text
        else:
            text = f"{key}: unknown key, there are no options here"
    elif first["type"] == "missing":
        text = f"{key} is required"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        text = f"{key} = {first['input']!r}: {reason}"
    more = len(problems) - 1
    return f"{text} (and {more} more)" if more else text


def known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that a group of options at ``path`` below ``model`` may have."""
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)


def apply_overrides(config: RunConfig, assignments: list[str]) -> RunConfig:
    """The configuration with ``key=value`` assignments applied in order; values are read as YAML.

    Naming another component (``labels.name=sglr``) drops the options of the one it replaces.

    Raises:
        ConfigError: no ``=``, an unknown key, or a value out of bounds.
    """
    content = to_dict(config)
    allow(*assignments)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {assignment!r}: expected key=value, such as labels.r=0.2")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment!r}: the value is not valid YAML") from error
        _assign(content, key.split("."), value, assignment)
    return parse_config(content, "--set")


def apply_settings(config: RunConfig, settings: Iterable[tuple[str, Any]], source: str = "settings") -> RunConfig:
    """The configuration with keys set to values in order, as :func:`apply_overrides` does with text.

    Raises:
        ConfigError: an unknown key, or a value out of bounds.
    """
    content = to_dict(config)
    for key, value in settings:
        _assign(content, key.split("."), value, f"{key}={value}")
    return parse_config(content, source)


def _assign(content: dict[str, Any], path: list[str], value: Any, assignment: str) -> None:
    group: Any = content
    for depth, part in enumerate(path[:-1]):
        group = _step_into(group, part, path[:depth], assignment)
        if not isinstance(group, (dict, list)):
            raise ConfigError(f"{assignment!r}: {'.'.join(path[: depth + 1])} is a value, not a group of keys")
    if isinstance(group, list):
        raise ConfigError(f"{assignment!r}: expected {path[0]}.NAME.OPTION=value, or {path[0]}=[NAME,...]")
    value = _spelled_out(path, value)
    for dropped in _replaced(group, path, value):
        group.pop(dropped)
    group[path[-1]] = value


def _step_into(group: Any, part: str, above: list[str], assignment: str) -> Any:
    """The group of keys that one part of a dotted key leads to; a list of components is entered by name."""
    if isinstance(group, list):
        named = [entry for entry in group if isinstance(entry, dict) and entry.get("name") == part]
        if not named:
            have = ", ".join(str(entry.get("name")) for entry in group if isinstance(entry, dict)) or "empty"
            raise ConfigError(f"{assignment!r}: {'.'.join(above)} has no {part!r} (it is: {have})")
        return named[0]
    if part not in group:
        if not above:
            raise unknown_name("key", part, RunConfig.model_fields)
        group[part] = {}
    return group[part]


def _spelled_out(path: list[str], value: Any) -> Any:
    """Components that are given by their names alone as keys and values, so that options can be set after them."""
    if path == ["regularizers"]:
        names = value.split(",") if isinstance(value, str) and value not in ("", "none") else value
        entries = names if isinstance(names, list) else []
        return [{"name": name.strip()} if isinstance(name, str) else name for name in entries] or names
    return {"name": value} if isinstance(value, str) and _annotation(path) is Part else value


def _replaced(group: dict[str, Any], path: list[str], value: Any) -> list[str]:
    """Keys whose values belong to what is replaced: a component's options, the lengths in another norm."""
    if group.get(path[-1]) == value:
        return []
    if path[-1] == "name" and _annotation(path[:-1]) is Part:
        return list(group)
    return [key for key in L2_DEFAULTS if key in group] if path == ["attack", "norm"] else []


def _annotation(path: list[str]) -> Any:
    """The type that a dotted key stands for; None where it is not a declared one."""
    current: Any = RunConfig
    for part in path:
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        current = field.annotation if field else None
    return current


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain dicts, lists, numbers and strings, as YAML and JSON hold them."""
    return config.model_dump(mode="json")


def to_yaml(config: RunConfig) -> str:
    """The configuration as YAML; :func:`from_yaml` gives it back, equal."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=100)


def from_yaml(text: str, source: str = "YAML") -> RunConfig:
    """A configuration from YAML text.

    Raises:
        ConfigError: not YAML, or not a valid configuration.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" in line {line + 1}" if line is not None else ""
        raise ConfigError(f"{source}: not valid YAML{where}") from error
    return parse_config(content, source)


def load_config(path: Path) -> RunConfig:
    """A configuration from a YAML file.

    Raises:
        ConfigError: the file is absent, unreadable or not a valid configuration.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read it as a YAML configuration ({error})") from error
    return from_yaml(text, str(path))
