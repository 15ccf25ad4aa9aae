"""What `evaluate` and `check` look at: checkpoints of a run, or a weights file with a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.errors import ConfigError, Interrupted, RunFolderError

if TYPE_CHECKING:
    from overfit_lab.config import RunConfig
    from overfit_lab.probes.snapshot import Snapshot
    from overfit_lab.training.session import Session

TargetArgument = Annotated[Path, typer.Argument(help="A run folder, or a weights file with --model and --data.")]
CheckpointOption = Annotated[
    str,
    typer.Option("--checkpoint", help="best, final, initial, all or an epoch; several by commas.", metavar="WHICH"),
]
WeightsOption = Annotated[
    str, typer.Option("--weights", metavar="NAME", help="raw, or the regularizer that keeps others, such as swa.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The architecture of a weights file.")]
DataOption = Annotated[str | None, typer.Option("--data", help="The data set to measure a weights file on.")]
FolderOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where the results on a weights file go.")
]


@dataclass(frozen=True)
class Target:
    """An opened target.

    Args:
        path: what the user named.
        session: its objects.
        which: the checkpoints; None for a weights file.
        weights: raw, or a regularizer's.
        out: the folder that results on a weights file go to; None: one below ``runs``.
    """

    path: Path
    session: Session
    which: str | None
    weights: str
    out: Path | None = None

    @cached_property
    def folder(self) -> Path:
        """The run folder that results go to; made for a weights file when it is first asked for.

        Raises:
            RunFolderError: it holds something else, or cannot be made.
        """
        if self.which is not None:
            return self.path
        from overfit_lab.evaluation.store import import_folder

        return import_folder(self.path, self.session, self.out)

    @property
    def config(self) -> RunConfig:
        """What the target is and was trained with."""
        return self.session.config

    def snapshots(self) -> Iterator[Snapshot]:
        """One after the other, each loaded when it is asked for."""
        from overfit_lab.training.subjects import at_checkpoints, foreign_snapshot

        if self.which is None:
            yield foreign_snapshot(self.session)
        else:
            yield from at_checkpoints(self.session, self.folder, self.which, self.weights)


def open_target(
    target: Path,
    *,
    checkpoint: str,
    weights: str,
    model: str | None,
    data: str | None,
    out: Path | None,
    assignments: list[str] | None,
    device: str,
    trust: bool,
) -> Target:
    """Open what the user named.

    Raises:
        ConfigError: options that do not go with this kind of target.
        RunFolderError: no run, or no such checkpoint.
        WeightsError: the file is unsafe, damaged or does not fit.
    """
    from overfit_lab.training.subjects import checkpoint_files, open_run

    if target.is_file():
        return _open_file(target, weights, model, data, out, assignments, device)
    if not target.exists():
        raise RunFolderError(f"{target}: no such weights file or run folder")
    for option, value in (("--model", model), ("--data", data), ("--out", out), ("--set", assignments)):
        if value:
            raise ConfigError(f"{option} goes with a weights file; the run in {target} has its own")
    from overfit_lab.records.layout import check_run

    checkpoint_files(check_run(target), checkpoint)
    return Target(target, open_run(target, device=device, trust=trust), checkpoint, weights)


def _open_file(
    target: Path,
    weights: str,
    model: str | None,
    data: str | None,
    out: Path | None,
    assignments: list[str] | None,
    device: str,
) -> Target:
    if model is None or data is None:
        raise ConfigError(f"{target}: a weights file needs --model NAME and --data NAME")
    if weights != "raw":
        raise ConfigError(f"--weights {weights}: goes with a run folder; a weights file has one set of weights")
    from overfit_lab.config import RunConfig, apply_overrides
    from overfit_lab.training.subjects import open_weights

    config = apply_overrides(
        RunConfig(), [f"name={_plain(target.stem)}", f"model.name={model}", f"data.name={data}", *(assignments or [])]
    )
    session = open_weights(target, config, device=device, on_note=note)
    return Target(target, session, None, weights, out)


@contextmanager
def resumable() -> Iterator[None]:
    """An interruption inside ends the command with a line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("the same command goes on where it was") from None


def note(text: str) -> None:
    """Something that the user should know, on stderr."""
    typer.echo(f"overfit-lab: {text}", err=True)


def _plain(name: str) -> str:
    from overfit_lab.evaluation.attackers import plain

    return plain(name)
