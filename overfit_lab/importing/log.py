"""From a training log, of whatever format, to run folders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overfit_lab.errors import ConfigError
from overfit_lab.files.writing import make_folder
from overfit_lab.importing.columns import ROW, Choose, Chosen, Question, choose_columns, doubled, listed, quoted
from overfit_lab.importing.epochs import Moment, check_steps, merged, moments
from overfit_lab.importing.fields import AXES, SIZES, field_of
from overfit_lab.importing.files import paths_of, read_tables
from overfit_lab.importing.folders import ImportedRun, vacant, write
from overfit_lab.importing.measured import check_signs, sizes_of, to_records
from overfit_lab.importing.naming import compiled, folder_names, seed_in
from overfit_lab.importing.source import LogError, NothingError
from overfit_lab.importing.table import Table
from overfit_lab.importing.values import are_percent
from overfit_lab.records import layout

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reading:
    """How a log is to be read; see :func:`import_log`."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    skip: Collection[str] = ()
    run_column: str | None = None
    seed_pattern: str | None = None
    steps_per_epoch: float | None = None
    first_epoch: int | None = None
    percent: bool | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


def import_log(
    path: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    format: str | None = None,  # noqa: A002
    mapping: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    run_column: str | None = None,
    seed_pattern: str | None = None,
    steps_per_epoch: float | None = None,
    first_epoch: int | None = None,
    percent: bool | None = None,
    n_train: int | None = None,
    n_test: int | None = None,
    n_val: int | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    choose: Choose | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Make a training log run folders, one a run.

    What the log does not say stays unknown. Nothing is written before everything was read, and each folder appears
    whole; a folder that holds the same import stays as it is.

    Args:
        path: file or folder, gzipped or not; several of them, or a pattern such as ``logs/*/output.log``.
        out: folder that the run folders are made in.
        format: of the log; None: it is recognised.
        mapping: columns by field, such as ``{"test_robust_acc": "pgd"}``; others are guessed by their names.
        skip: columns that are to be read as nothing.
        run_column: column that says the run, or several by commas; without it each file is a run.
        seed_pattern: regular expression with a group ``seed`` that finds the seed in a run's name; the rest of the name
            is the experiment's. Without it each run is an experiment of its own.
        steps_per_epoch: optimiser steps of an epoch, where the log counts steps alone.
        first_epoch: 0 or 1, what the log calls the first epoch that it trained; None: guessed.
        percent: whether accuracies are percentages; None: guessed by their range.
        n_train: samples of the training split.
        n_test: samples of the test split.
        n_val: samples of the validation split.
        dry_run: say what is there, and write nothing.
        overwrite: put new imports in the place of others.
        choose: asks the user where a column's name leaves several readings open; None: that is an error.
        say: is told, in one line each, what was read and what was done.

    Returns:
        The run folders, in the order of the log; with ``dry_run`` where they would be.

    Raises:
        ConfigError: the log cannot be read, or it does not say enough; file and line are named.
        MissingPackageError: a format's package is not installed.
        RunFolderError: a folder holds something else, or cannot be written.
    """
    say = say if say is not None else _silent
    sizes = {split: n for split, n in (("train", n_train), ("test", n_test), ("val", n_val)) if n is not None}
    reading = Reading(dict(mapping or {}), skip, run_column, seed_pattern, steps_per_epoch, first_epoch, percent, sizes)
    _check(reading)
    out = Path(out)
    layout.check_writable(out)
    runs = read_runs(paths_of(path), format, reading, _remembering(choose), say)
    open_runs = [run for run in runs if vacant(run, out, overwrite=overwrite)]
    for run in runs:
        there = "" if run in open_runs else ", is there already"
        say(f"{describe(run)}{there}")
    if not dry_run:
        for run in open_runs:
            make_folder(out)
            write(run, out)
    return [out / run.folder for run in runs]


def _silent(text: str) -> None:
    """Say nothing."""


def _check(reading: Reading) -> None:
    """Refuse options that are none, before any file is read."""
    for name in reading.mapping:
        if name not in AXES and name not in SIZES:
            field_of(name)
    for split, n in reading.sizes.items():
        if n < 1:
            raise ConfigError(f"--n-{split} {n}: expected 1 or more")
    if reading.first_epoch not in (None, 0, 1):
        raise ConfigError(f"--first-epoch {reading.first_epoch}: expected 0 or 1")
    check_steps(reading.steps_per_epoch)
    compiled(reading.seed_pattern)


def _remembering(choose: Choose | None) -> Choose | None:
    """Ask each question once."""
    if choose is None:
        return None
    answers: dict[str, str] = {}

    def ask(question: Question) -> str:
        key = f"{question.text} {sorted(question.options)}"
        if key not in answers:
            answers[key] = choose(question)
        return answers[key]

    return ask


def read_runs(
    paths: Sequence[Path], format_name: str | None, reading: Reading, choose: Choose | None, say: Say
) -> list[ImportedRun]:
    """The runs of some files, ready to be written; see :func:`import_log`."""
    tables, chosen = _usable_tables(read_tables(paths, format_name), reading, choose, say)
    shares = list(dict.fromkeys(c for part in chosen for name, c in part.columns.items() if _is_share(name)))
    for _, table in tables:
        check_signs(table, [column for column in shares if column in table.frame])
    percent, how = are_percent([table for _, table in tables], shares, reading.percent) if shares else (False, "")
    unit = f"; accuracies are {'percentages' if percent else 'fractions'}, {how}" if shares else ""
    runs: list[ImportedRun] = []
    said: set[str] = set()
    for (name, table), part in zip(tables, chosen, strict=True):
        line = f"{name}: {_describe_columns(part)}{unit}"
        if line not in said:
            said.add(line)
            say(f"{table.source}: {line}" if len(tables) == 1 else line)
        runs += _runs_of(name, table, part, reading, percent, say)
    return _named(runs)


def _usable_tables(
    tables: Sequence[tuple[str, Table]], reading: Reading, choose: Choose | None, say: Say
) -> tuple[list[tuple[str, Table]], list[Chosen]]:
    """Tables with their columns by field, without those of a folder of runs that have no number of ours.

    Raises:
        LogError: nothing of a file or folder is of use.
    """
    usable: list[tuple[str, Table]] = []
    chosen: list[Chosen] = []
    useless: list[tuple[Table, NothingError]] = []
    for name, table in tables:
        try:
            chosen.append(_columns(table, reading, choose))
            usable.append((name, table))
        except NothingError as error:
            useless.append((table, error))
    for table, reason in useless:
        if table.source not in [other.source for _, other in usable]:
            raise reason
        say(f"{table.name} is passed over: it has no accuracy or loss over epochs")
    return usable, chosen


def _columns(table: Table, reading: Reading, choose: Choose | None) -> Chosen:
    """The columns of a table by field, the run's and the epochs' among them."""
    _with_run(table, reading.run_column)
    mapping = dict(reading.mapping)
    if reading.run_column is not None:
        mapping["run"] = reading.run_column
    names = [str(name) for name in table.frame.columns]
    if len(set(names)) < len(names):
        raise LogError(f"{table.source}: column {doubled(names)!r} comes twice")
    chosen = choose_columns(
        names, mapping=mapping, skip=reading.skip, certain=table.fields, choose=choose, source=table.source
    )
    chosen = _usable(table, chosen)
    columns = chosen.columns
    if "epoch" not in columns and "step" not in columns:
        raise NothingError(
            f"{table.source}: no column says the epoch; give --map epoch=COLUMN, or --map epoch={ROW} where each row "
            f"is an epoch; it has {listed(names)}"
        )
    if not [name for name in columns if name not in AXES and name not in SIZES]:
        raise NothingError(
            f"{table.source}: no column is known to be an accuracy or a loss; give --map test_robust_acc=COLUMN "
            f"and others; it has {listed(names)}"
        )
    return chosen


def _with_run(table: Table, column: str | None) -> None:
    """Put the texts of several columns into one that names the run.

    Raises:
        LogError: one of them is not there.
    """
    parts = column.split(",") if column is not None and column not in table.frame.columns else []
    if len(parts) > 1:
        missing = next((part for part in parts if part not in table.frame.columns), None)
        if missing is not None:
            raise LogError(f"{table.source}: has no column {missing!r}; it has {listed(list(table.frame.columns))}")
        texts = [[str(cell).strip() for cell in table.frame[part]] for part in parts]
        table.frame[column] = pd.Series(["-".join(text) for text in zip(*texts, strict=True)], dtype=object)


def _usable(table: Table, chosen: Chosen) -> Chosen:
    """Without second weights that have no accuracy on test or val, which no view could show."""
    seconds = {name.partition("@")[2] for name in chosen.columns if "@" in name and "/" not in name}
    for weights in seconds:
        needed = {f"{split}_{part}{kind}@{weights}" for split in ("test", "val") for part in ("", "robust_")
                  for kind in ("acc", "error")}  # fmt: skip
        if not needed & chosen.columns.keys():
            for name in [name for name in chosen.columns if name.endswith(f"@{weights}") and "/" not in name]:
                chosen.passed_over = (*chosen.passed_over, chosen.columns.pop(name))
    chosen.guessed = tuple(name for name in chosen.guessed if name in chosen.columns)
    return chosen


def _is_share(name: str) -> bool:
    return name not in AXES and name not in SIZES and field_of(name).is_share


def _describe_columns(chosen: Chosen) -> str:
    """Which field is which column, and which columns are nothing."""
    parts = [
        name if name == column else f"{name} is {column!r}{' (guessed)' if name in chosen.guessed else ''}"
        for name, column in chosen.columns.items()
    ]
    over = f"; passed over: {listed(chosen.passed_over)}" if chosen.passed_over else ""
    return f"columns {', '.join(parts)}{over}"


def _runs_of(name: str, table: Table, chosen: Chosen, reading: Reading, percent: bool, say: Say) -> list[ImportedRun]:
    """The runs of a table."""
    columns = chosen.columns
    numbers = {key: column for key, column in columns.items() if key not in AXES and key not in SIZES}
    on_train = [column for key, column in numbers.items() if key == "loss" or field_of(key).split == "train"]
    trains = np.zeros(len(table.frame), dtype=bool)
    for column in on_train:
        trains |= np.array([cell not in (None, "") for cell in table.frame[column]], dtype=bool)
    runs = []
    for run, rows in _rows_by_run(table, columns.get("run")).items():
        notes: list[str] = list(table.notes)
        when = moments(
            table,
            rows,
            columns.get("epoch"),
            columns.get("step"),
            trains=trains,
            steps_per_epoch=reading.steps_per_epoch,
            first_epoch=reading.first_epoch,
            say=notes.append,
        )
        if "run" not in columns:
            _check_one_run(table, when, chosen, reading.skip)
        epochs, cells = merged(table, when, list(numbers.values()), notes.append)
        sizes = sizes_of(table, rows, columns, reading.sizes)
        records = to_records(table, epochs, cells, numbers, percent=percent, sizes=sizes, say=notes.append)
        if not records:
            raise LogError(f"{table.source}: run {run!r} has no number in {listed(list(numbers.values()))}")
        log: dict[str, Any] = {
            "source": table.source,
            "format": name,
            "name": run,
            "columns": dict(columns),
            "percent": percent,
            "notes": list(dict.fromkeys(notes)),
            "settings": dict(table.settings),
        }
        seeds = compiled(reading.seed_pattern)
        seed, experiment = seed_in(run, seeds) if seeds is not None else (None, run)
        runs.append(ImportedRun(run, "", records, sizes, seed, experiment, log))
    return runs


def _check_one_run(table: Table, when: Sequence[Moment], chosen: Chosen, skip: Collection[str]) -> None:
    """Refuse to take several runs for one: epochs go back just where a column that is no number of ours changes.

    Raises:
        LogError: such a column; it may be what names the run.
    """
    back = {b.row for a, b in itertools.pairwise(when) if 0 <= b.epoch < a.epoch}
    for column in chosen.passed_over if back else ():
        cells = [str(cell) for cell in table.frame[column]]
        changes = {b.row for a, b in itertools.pairwise(when) if cells[a.row] != cells[b.row]}
        if changes == back and column not in skip:
            raise LogError(
                f"{table.place(min(back))}: epochs go back where {column!r} becomes {cells[min(back)]!r}; "
                f"if it names the run give --run-column {quoted(column)}, else --skip {quoted(column)}"
            )


def _rows_by_run(table: Table, column: str | None) -> dict[str, list[int]]:
    """Positions of the rows of each run, in the order in which runs first come.

    Raises:
        LogError: a row does not say its run.
    """
    if column is None:
        return {table.name: list(range(len(table.frame)))}
    runs: dict[str, list[int]] = {}
    for i, cell in enumerate(table.frame[column]):
        name = str(cell).strip() if cell is not None else ""
        if not name:
            raise LogError(f"{table.place(i)}: {column!r} is empty, expected the name of a run")
        runs.setdefault(name, []).append(i)
    return runs


def _named(runs: Sequence[ImportedRun]) -> list[ImportedRun]:
    """The runs with the names of their folders.

    Raises:
        LogError: two runs are called alike.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        twice = doubled(names)
        raise LogError(f"two runs are called {twice!r}; import their files one by one, each with an --out of its own")
    return [replace(run, folder=folder) for run, folder in zip(runs, folder_names(names), strict=True)]


def describe(run: ImportedRun) -> str:
    """What was read of a run, in one line."""
    epochs = sorted({record.epoch for record in run.records})
    span = f"epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"epoch {epochs[0]}"
    count = f" ({len(epochs)} of them)" if len(epochs) != epochs[-1] - epochs[0] + 1 else ""
    splits = dict.fromkeys(record.split for record in run.records if record.split)
    sizes = ", ".join(f"{n:,} {split}" for split, n in run.sizes.items()) or "none"
    unknown = [f"n_{split}" for split in splits if split not in run.sizes]
    unknown += ["method", "data", "model", "attack", *(["seed"] if run.seed is None else [])]
    called = f" (in the log {run.name!r})" if run.name != run.folder else ""
    seed = f", seed {run.seed} of {run.experiment!r}" if run.seed is not None else ""
    notes = run.log["notes"]
    done = f"; {'; '.join(notes)}" if notes else ""
    return f"{run.folder}{called}: {span}{count}{seed}; samples {sizes}; not known: {', '.join(unknown)}{done}"
