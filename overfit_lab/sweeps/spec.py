"""What a sweep's file says: a base, what is set of it, axes, seeds, what a cell needs and who runs it. No torch."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic.config import JsonDict

from overfit_lab.config import Options, describe_validation_error
from overfit_lab.config.files import parse_yaml, read_text
from overfit_lab.config.permission import read_from_file
from overfit_lab.config.quantities import Size, Time, parse_size, parse_time
from overfit_lab.config.schema import Names
from overfit_lab.errors import ConfigError

LONGEST = 100
"""Characters of a sweep's name, which is that of a folder."""
RUNS: JsonDict = {"runs": True}
"""Marks an option, as ``Field(json_schema_extra=RUNS)``, that is run as it stands or says what to connect to: in a
file it counts as code, so that it is only followed where the user typed it or said ``--trust``."""


class Resources(Options):
    """What one cell needs; ``memory`` is asked of Ray and Slurm alone, ``time`` of Slurm alone."""

    cpus: int = Field(1, ge=1, description="cores, and threads of torch in a cell")
    gpus: int = Field(0, ge=0, description="CUDA devices")
    memory: Size | None = Field(None, description="such as 4 GB")
    time: Time | None = Field(None, description="longest time of a job, such as 30 min, 2 h or '12:00:00'")

    @property
    def memory_bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else parse_size(self.memory)

    @property
    def minutes(self) -> int | None:
        """The longest time in minutes, rounded up."""
        return None if self.time is None else math.ceil(parse_time(self.time) / 60)


class SweepSpec(Options):
    """A sweep, as its file says it; frozen, unknown keys refused."""

    name: str | None = Field(None, description="names the folder runs/NAME; null: the file's name without its suffix")
    base: str | dict[str, Any] = Field(description="a recipe, a configuration file beside the sweep's, or its content")
    set: dict[str, Any] = Field(default_factory=dict, description="keys of the configuration for all cells")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="keys and the values that each takes")
    seeds: int | tuple[int, ...] = Field(1, description="how many, from the configuration's seed upwards, or a list")
    resources: Resources = Resources()
    retries: int = Field(0, ge=0, description="how often a cell that failed is begun again")
    backend: str = Field("local", min_length=1, description="who runs the cells: local, ray, slurm")
    jobs: int | None = Field(None, ge=1, description="cells at a time; null: as many as there is room for")
    device: str = Field("auto", description="auto, cpu or cuda")
    log: Names[str] = Field((), description="sinks that the records are mirrored to")
    backends: dict[str, dict[str, Any]] = Field(default_factory=dict, description="a backend's own options, by name")

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str | None) -> str | None:
        if value is None or (re.fullmatch(rf"[^/.-][^/]{{0,{LONGEST - 1}}}", value) and value.isprintable()):
            return value
        raise ValueError(
            f"expected the name of a folder in at most {LONGEST} characters that can be seen, without slashes, "
            "beginning with neither a dot nor a hyphen"
        )

    @field_validator("base", mode="before")
    @classmethod
    def _is_a_configuration(cls, value: Any) -> Any:
        if not isinstance(value, str | dict) or not value:
            raise ValueError("expected a recipe, a configuration file, or keys and values")
        return value

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if value not in ("auto", "cpu", "cuda"):
            raise ValueError("expected auto, cpu or cuda")
        return value

    @field_validator("grid", mode="before")
    @classmethod
    def _axes_are_lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            if "seed" in value:
                raise ValueError("seed is no axis; say how many by seeds")
            for key, values in value.items():
                if not isinstance(values, list) or not values:
                    raise ValueError(f"{key} needs a list of values, such as {key}: [0, 0.2]")
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_whole(cls, value: Any) -> Any:
        many = isinstance(value, list | tuple)
        seeds = value if many else [value]
        if not seeds or any(isinstance(n, bool) or not isinstance(n, int) for n in seeds):
            raise ValueError("expected how many, such as 3, or a list such as [0, 1, 2]")
        if (min(seeds) < 0 or len({*seeds}) < len(seeds)) if many else value < 1:
            raise ValueError("expected at least 1, or a list of different seeds from 0 upwards")
        return value

    def numbers(self, first: int) -> list[int]:
        """The seeds, where the configuration's own is ``first``."""
        return list(range(first, first + self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


def parse_spec(content: Any, source: str) -> SweepSpec:
    """A validated sweep from nested plain values.

    Raises:
        ConfigError: one line that names the first wrong key, its value and what would be right.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected keys and values, got {type(content).__name__}")
    read_from_file(content)
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_validation_error(error, SweepSpec)}") from error


def load_spec(path: Path) -> SweepSpec:
    """A sweep from its YAML file.

    Raises:
        ConfigError: the file is absent, unreadable or no valid sweep.
    """
    spec = parse_spec(parse_yaml(read_text(path, "a sweep's YAML"), str(path)), str(path))
    return spec if spec.name is not None else spec.model_copy(update={"name": path.stem})
