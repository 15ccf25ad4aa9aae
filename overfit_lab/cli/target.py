"""The target of `evaluate`, `check` and `probe`: checkpoints of a run, or a weights file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.errors import ConfigError, Interrupted, RunFolderError
from overfit_lab.files.escape import for_file
from overfit_lab.files.terminal import to_stderr

if TYPE_CHECKING:
    from overfit_lab.config import RunConfig
    from overfit_lab.evaluation.attackers import Source
    from overfit_lab.probes.snapshot import Snapshot
    from overfit_lab.training.session import Session

TargetArgument = Annotated[Path, typer.Argument(help="A run folder, or a weights file with --model and --data.")]
CheckpointOption = Annotated[
    str,
    typer.Option("--checkpoint", help="best, final, initial, all or an epoch; several by commas.", metavar="WHICH"),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights", metavar="NAME", help="raw, or others: the regularizer's name (swa), or the key in a weights file."
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The architecture of a weights file.")]
DataOption = Annotated[str | None, typer.Option("--data", help="The data set to measure a weights file on.")]
FolderOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where the results on a weights file go.")
]

SplitOption = Annotated[str, typer.Option("--split", help="train, val or test.")]
QueriesOption = Annotated[int, typer.Option("--queries", help="Forward passes of Square.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="RUN", help="RUN, RUN@CHECKPOINT or weights file, for transfer.")
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", help="Samples at a time.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON array and nothing else.")]


@dataclass(frozen=True)
class Target:
    """A run or a weights file, opened.

    Args:
        path: run folder or weights file.
        session: data, model and other objects of the run.
        which: selection of checkpoints; None for a weights file.
        weights: ``raw``, or the name of a regularizer that keeps others.
        out: folder for results on a weights file; None: one below ``runs``.
    """

    path: Path
    session: Session
    which: str | None
    weights: str
    out: Path | None = None

    @cached_property
    def folder(self) -> Path:
        """The run folder for results; for a weights file it is made on first use.

        Raises:
            RunFolderError: it holds something else, or cannot be made.
        """
        if self.which is not None:
            return self.path
        from overfit_lab.evaluation.store import import_folder
        from overfit_lab.training.subjects import data_line

        folder = import_folder(self.path, self.session, self.out)
        note(data_line(self.session.data.describe()))
        return folder

    @property
    def config(self) -> RunConfig:
        """The configuration of the target."""
        return self.session.config

    def source(self, name: str | None, *, trust: bool) -> Source | None:
        """The network that ``--source`` names, on this target's data; None without the option."""
        if name is None:
            return None
        from overfit_lab.evaluation.source import open_source

        return open_source(name, self.config, self.session.data, self.session.device, trust=trust, on_note=note)

    def snapshots(self) -> Iterator[Snapshot]:
        """A snapshot of each checkpoint, loaded one after the other; what is doubtful about them is said once."""
        from overfit_lab.training.doubts import doubted
        from overfit_lab.training.subjects import at_checkpoints, foreign_snapshot

        snapshots = (
            [foreign_snapshot(self.session)]
            if self.which is None
            else at_checkpoints(self.session, self.folder, self.which, self.weights)
        )
        return doubted(snapshots, note, lambda: self.folder)


def open_target(
    target: Path,
    checkpoint: str,
    weights: str,
    model: str | None,
    data: str | None,
    *,
    out: Path | None,
    assignments: list[str] | None,
    device: str,
    trust: bool,
) -> Target:
    """Open a run folder or a weights file.

    Raises:
        ConfigError: options that do not go with this kind of target.
        RunFolderError: no run, or no such checkpoint.
        WeightsError: the file is unsafe, damaged or does not fit.
    """
    from overfit_lab.records.layout import check_run
    from overfit_lab.training.subjects import checkpoint_files, open_run, open_weights

    if target.is_file():
        config = weights_config(target, model, data, [f"name={for_file(target.stem)}", *(assignments or [])])
        which = None if weights == "raw" else weights
        session = open_weights(target, config, device=device, on_note=note, which=which)
        return Target(target, session, None, weights, out)
    if not target.exists():
        raise RunFolderError(f"{target}: no such weights file or run folder")
    refuse_for_run(target, model=model, data=data, out=out, set=assignments)
    checkpoint_files(check_run(target), checkpoint)
    return Target(target, open_run(target, device=device, trust=trust), checkpoint, weights)


def weights_config(target: Path, model: str | None, data: str | None, assignments: Sequence[str]) -> RunConfig:
    """The configuration that measures a weights file.

    Raises:
        ConfigError: no model or data was named.
    """
    from overfit_lab.config import RunConfig, apply_overrides

    if model is None or data is None:
        raise ConfigError(f"{target}: a weights file needs --model NAME and --data NAME")
    return apply_overrides(RunConfig(), [f"model.name={model}", f"data.name={data}", *assignments])


def refuse_for_run(target: Path, **options: object) -> None:
    """Refuse options of a weights file where a run folder was named.

    Raises:
        ConfigError: one of them is set.
        RunFolderError: one is set, and there is neither a file nor a folder.
    """
    for name, value in options.items():
        if value:
            if not target.exists():
                raise RunFolderError(f"{target}: no such weights file or run folder")
            raise ConfigError(f"--{name} goes with a weights file; the run in {target} has its own")


def check_split(split: str) -> None:
    """Refuse a name that is no split's."""
    if split not in ("train", "val", "test"):
        raise ConfigError(f"--split {split!r}: expected train, val or test")


@contextmanager
def resumable() -> Iterator[None]:
    """Turn an interruption into one that says how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("the same command goes on where it was") from None


def note(text: str) -> None:
    """Print a note on stderr."""
    to_stderr(text)
