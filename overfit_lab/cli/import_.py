"""`overfit-lab import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.files.terminal import say, say_lines

if TYPE_CHECKING:
    from overfit_lab.importing.columns import Question


def import_(
    logs: Annotated[list[Path], typer.Argument(help="Files or folders of logs.", metavar="LOG...")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make the run folders in.")],
    style: Annotated[
        str | None, typer.Option("--format", help="See `overfit-lab list formats`; default: recognised.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Column of a field (test_robust_acc=pgd); may be repeated."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="COLUMN", help="Read a column as nothing; may be repeated.")
    ] = None,
    run_column: Annotated[
        str | None, typer.Option("--run-column", metavar="COLUMN", help="Column of runs' names; default: a file a run.")
    ] = None,
    seed_pattern: Annotated[
        str | None,
        typer.Option(
            "--seed-pattern",
            metavar="REGEX",
            help="Finds the seed in a run's name by a group called seed; the rest names the experiment.",
        ),
    ] = None,
    steps_per_epoch: Annotated[
        float | None, typer.Option("--steps-per-epoch", help="Optimiser steps of an epoch, where steps are logged.")
    ] = None,
    first_epoch: Annotated[
        int | None, typer.Option("--first-epoch", help="What the log calls its first epoch, 0 or 1; default: guessed.")
    ] = None,
    percent: Annotated[
        bool | None, typer.Option("--percent/--fraction", help="What accuracies are; default: by their range.")
    ] = None,
    n_train: Annotated[int | None, typer.Option("--n-train", help="Samples of the training split.")] = None,
    n_test: Annotated[int | None, typer.Option("--n-test", help="Samples of the test split.")] = None,
    n_val: Annotated[int | None, typer.Option("--n-val", help="Samples of the validation split.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is there, and write nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier imports of the same names.")] = False,
) -> None:
    """Make the training log of another loop run folders, which diagnose, report, figure, table and watch take.

    Columns are guessed by their names; what leaves a choice is asked, or ends with status 2 and the choices.
    """
    from overfit_lab.importing.log import import_log

    folders = import_log(
        list(logs),
        out=out,
        format=style,
        mapping=_mapping(mapping or []),
        skip=tuple(skip or ()),
        run_column=run_column,
        seed_pattern=seed_pattern,
        steps_per_epoch=steps_per_epoch,
        first_epoch=first_epoch,
        percent=percent,
        n_train=n_train,
        n_test=n_test,
        n_val=n_val,
        dry_run=dry_run,
        overwrite=overwrite,
        choose=_asked if sys.stdin.isatty() else None,
        say=say,
    )
    if not dry_run:
        _tell_next(folders, out)


def _mapping(pairs: list[str]) -> dict[str, str]:
    """Columns by field.

    Raises:
        ConfigError: no FIELD=COLUMN, or a field twice.
    """
    from overfit_lab.errors import ConfigError

    mapping: dict[str, str] = {}
    for pair in pairs:
        name, sign, column = pair.partition("=")
        if not sign or not name or not column:
            raise ConfigError(f"--map {pair!r}: expected FIELD=COLUMN, such as test_robust_acc=pgd")
        if name in mapping:
            raise ConfigError(f"--map {pair!r}: {name} is {mapping[name]!r} already")
        mapping[name] = column
    return mapping


def _asked(question: Question) -> str:
    """The option that the user types by its number."""
    options = list(question.options)
    say_lines(question.text)
    for i, option in enumerate(options, start=1):
        say(f"  {i}  {option}   ({question.options[option]})")
    number = 0
    while not 1 <= number <= len(options):
        number = typer.prompt(f"1 to {len(options)}", type=int)
    return options[number - 1]


def _tell_next(folders: list[Path], out: Path) -> None:
    from shlex import quote

    one = folders[0] if len(folders) == 1 else out
    say(f"{len(folders)} {'run' if len(folders) == 1 else 'runs'} in {out}; next: overfit-lab diagnose "
               f"{quote(str(one))}")  # fmt: skip
