"""What run.json and the files of a sweep may say, and what is wrong with one that says otherwise.

Keys that are not known stay: later versions may write more. What a line of records.jsonl may say is in
:meth:`overfit_lab.records.records.Record.from_json`, as there are a hundred thousand of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from overfit_lab.config.files import describe_validation_error
from overfit_lab.errors import RunFolderError

Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Loose(BaseModel):
    """Values of the kinds that JSON has, unknown keys allowed."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class DataInfo(Loose):
    """The data that a run was trained on."""

    name: str | None = None
    read_as: str | None = None
    n_classes: Size | None = None
    class_names: list[str] = []
    shape: list[Count] = []
    read_from: dict[str, str] = {}
    notes: list[str] = []
    sizes: dict[str, Size] = {}
    kept: dict[str, Size] = {}
    n_resampled: Count = 0
    n_changed: Count = 0


class BestInfo(Loose):
    """The best epoch, see :mod:`overfit_lab.records.best`."""

    epoch: Count
    metric: str
    split: str
    value: Number | None


class ChangeInfo(Loose):
    """What was set otherwise from an epoch on, see :mod:`overfit_lab.records.changes`."""

    epoch: Count
    before: Any
    now: Any


class BudgetInfo(Loose):
    """What a budget of probing came to while training, see :mod:`overfit_lab.training.budget`."""

    every: Size


class MonitoredInfo(Loose):
    """Of a run that was trained by a loop outside this package."""

    method: str | None = None
    config: dict[str, Any] | None = None
    tags: list[str] = []
    unknown: list[str] = []


class RunInfo(Loose):
    """What run.json says."""

    name: str | None = None
    status: str | None = None
    seed: Count | None = None
    started: str | None = None
    ended: str | None = None
    command: str | None = None
    versions: dict[str, str] = {}
    git_revision: str | None = None
    device: str | None = None
    machine: str | None = None
    hardware: dict[str, Any] = {}
    compute: dict[str, Any] = {}
    n_parameters: Count | None = None
    data: DataInfo | None = None
    robust: bool | None = None
    decay_epochs: list[Number] = []
    wall_seconds: Number | None = None
    epoch: Count | None = None
    best: BestInfo | None = None
    processes: Size | None = None
    doubts: list[str] = []
    failed_probes: Any = None  # a note beside the records, which say it too: what is no note is passed over
    probes_changed: list[ChangeInfo] = []
    epochs_changed: list[ChangeInfo] = []
    probe_sizes: dict[str, Size] = {}
    probe_budget: BudgetInfo | None = None
    monitored: MonitoredInfo | None = None
    log: dict[str, Any] | None = None
    weights: dict[str, Any] | None = None


class CellInfo(Loose):
    """A cell in sweep.json."""

    name: str
    settings: dict[str, Any]
    seed: Count
    config: dict[str, Any]


class ManifestInfo(Loose):
    """What sweep.json says."""

    format: int
    sweep: dict[str, Any]
    base: dict[str, Any] | None = None
    cells: dict[str, CellInfo]


class BeatInfo(Loose):
    """A sign of life of a sweep's cell, see :class:`overfit_lab.sweeps.beat.Beat`."""

    token: str
    state: str
    host: str = ""
    pid: Annotated[int, Field(ge=0, lt=2**31)] = 0
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    text: str = ""
    failure: str = ""
    job: str = ""
    time: Number = 0.0


def sound(content: dict[str, Any], model: type[Loose]) -> dict[str, Any]:
    """The content of a file without the keys whose values are of a wrong kind."""
    try:
        model.model_validate(content)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors(include_url=False) if problem["loc"]}
        return {key: value for key, value in content.items() if key not in wrong}
    return content


def check(content: dict[str, Any], model: type[Loose], path: Path) -> dict[str, Any]:
    """The content of a file as it is, if its values are of the right kinds.

    Raises:
        RunFolderError: one is not; the message names file, key and value.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise RunFolderError(f"{path}: damaged, {describe_validation_error(error, model)}") from error
    return content
