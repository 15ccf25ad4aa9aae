"""`overfit-lab sweep`: a file, or one of run, status, resume and collect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from overfit_lab.cli.source import TrustOption, yaml_value
from overfit_lab.cli.target import note
from overfit_lab.errors import ConfigError, Interrupted
from overfit_lab.files.escape import as_json as to_json
from overfit_lab.files.terminal import say, say_lines

if TYPE_CHECKING:
    from overfit_lab.sweeps.run import SweepResult
    from overfit_lab.sweeps.spec import SweepSpec
    from overfit_lab.sweeps.status import CellStatus


class FileOrCommand(TyperGroup):
    """``sweep FILE`` is ``sweep run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` before an argument that is neither a command nor --help."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Train many runs from one file.", no_args_is_help=False, cls=FileOrCommand)
BackendOption = Annotated[str | None, typer.Option("--backend", help="Who runs the cells: local, ray or slurm.")]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Of the Ray cluster to join; default RAY_ADDRESS, else one is started.")
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the backend; may be repeated."),
]
JobsOption = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Cells at a time.")]
RetriesOption = Annotated[
    int | None, typer.Option("--retries", metavar="N", help="How often a cell that failed is begun again.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the cells (Slurm).")]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a sweep.")]


@app.callback(epilog="`overfit-lab sweep FILE.yaml` is `overfit-lab sweep run FILE.yaml`.")
def root() -> None:
    """Train many runs from one file, on this machine, a Ray cluster or Slurm."""


@app.command("run")
def run(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="What to train.")],
    backend: BackendOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the sweep; default runs/NAME.")] = None,
    jobs: JobsOption = None,
    retries: RetriesOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    option: OptionsOption = None,
    detach: DetachOption = False,
    trust: TrustOption = False,
) -> None:
    """Train the cells of a sweep that are not completed; the same command with more values trains the new ones.

    Ctrl-C leaves a sweep that `overfit-lab sweep resume` goes on with.
    """
    from overfit_lab.sweeps.spec import load_spec, parse_spec

    spec = load_spec(file)
    changes = _changes(spec, address, option, backend=backend, jobs=jobs, retries=retries, device=device)
    spec = parse_spec({**spec.model_dump(mode="json"), **changes}, str(file))
    folder = out if out is not None else Path("runs") / str(spec.name)
    from overfit_lab.cli.jobs import RunsProgress
    from overfit_lab.sweeps.run import run_sweep

    with resumable(folder):
        result = run_sweep(
            spec, folder, beside=file.parent, detach=detach, trust=trust, watch=RunsProgress, on_note=note
        )
    tell(result)


@app.command("resume")
def resume(
    folder: FolderArgument,
    backend: BackendOption = None,
    jobs: JobsOption = None,
    retries: RetriesOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    option: OptionsOption = None,
    detach: DetachOption = False,
    trust: TrustOption = False,
) -> None:
    """Go on with what of a sweep is not completed, from its folder alone."""
    from overfit_lab.sweeps.manifest import read_manifest

    spec = read_manifest(folder).spec
    changes = _changes(spec, address, option, backend=backend, jobs=jobs, retries=retries, device=device)
    from overfit_lab.cli.jobs import RunsProgress
    from overfit_lab.sweeps.run import resume_sweep

    with resumable(folder):
        result = resume_sweep(folder, changes, detach=detach, trust=trust, watch=RunsProgress, on_note=note)
    tell(result)


@app.command("status")
def status(
    folder: FolderArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: a list with one object a cell.")] = False,
) -> None:
    """Show how every cell of a sweep stands."""
    from overfit_lab.sweeps.status import sweep_status

    cells = sweep_status(folder)
    if as_json:
        from dataclasses import asdict

        say_lines(to_json([asdict(cell) for cell in cells]))
    else:
        _print_status(cells)


@app.command("collect")
def collect(
    folder: FolderArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: .csv, .parquet or .md; default: print as Markdown.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the figure `sweep` into a .png, .pdf or .svg too.")
    ] = None,
) -> None:
    """Put all cells of a sweep into one table: settings, seed, status, and best, final and diff of every metric."""
    from overfit_lab.sweeps.collect import check_table, to_markdown, write_table
    from overfit_lab.sweeps.collect import collect as collect_cells
    from overfit_lab.views.figures.style import check_path, save

    if out is not None:
        check_table(out)
    if figure is not None:
        check_path(figure)
    frame = collect_cells(folder)
    if out is None:
        say_lines(to_markdown(frame).rstrip("\n"))
    else:
        write_table(frame, out)
        say(str(out))
    if figure is not None:
        from overfit_lab.config.catalog import FIGURES
        from overfit_lab.records.reader import Run

        measured = frame.loc[frame["final_epoch"].notna(), "cell"]
        save(FIGURES["sweep"]([Run(folder / cell) for cell in measured]), figure)
        say(str(figure))


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Turn an interruption into one that names the command that resumes the sweep."""
    from overfit_lab.sweeps.manifest import manifest_path

    try:
        yield
    except KeyboardInterrupt:
        if not manifest_path(folder).is_file():
            raise
        raise Interrupted(f"overfit-lab sweep resume {quote(str(folder))} goes on") from None


def _changes(spec: SweepSpec, address: str | None, option: list[str] | None, **keys: Any) -> dict[str, Any]:
    """The changes that command-line options make to a sweep, as keys of its file."""
    changes: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    name = changes.get("backend", spec.backend)
    options = dict(spec.backends.get(name, {}))
    for text in option or []:
        options |= _option(text)
    if address is not None:
        if name != "ray":
            raise ConfigError(f"--address goes with --backend ray, not {name}")
        options["address"] = address
    return changes | ({"backends": {**spec.backends, name: options}} if options else {})


def _option(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--option {text!r}: expected key=value, such as partition=gpu")
    return {key.strip(): yaml_value("--option", text, value)}


def tell(result: SweepResult) -> None:
    """Print how a sweep ended, with the reason and the end of the log of each failed cell.

    Raises:
        typer.Exit: 1 when a cell failed.
    """
    folder = result.folder
    if result.detached:
        say(f"submitted: {result.n_trained} of {len(result.cells)} cells in {folder}")
        say(f"next: overfit-lab sweep status {quote(str(folder))}")
        return
    from overfit_lab.sweeps.work import last_lines, log_path

    n_completed, n_cells = len(result.completed), len(result.cells)
    say(f"completed: {n_completed} of {n_cells} cells in {folder}, {result.n_trained} of them trained now")
    for cell in result.cells:
        if cell.name in result.failures:
            log = log_path(folder / cell.folder)
            say(f"overfit-lab: cell {cell.name} failed: {result.failures[cell.name]}; its log: {log}", err=True)
            for line in last_lines(log):
                say(f"    {line}", err=True)
    if result.failures:
        say(f"overfit-lab: overfit-lab sweep resume {quote(str(folder))} tries again what failed", err=True)
        raise typer.Exit(1)
    say(f"next: overfit-lab sweep collect {quote(str(folder))} --out table.csv --figure sweep.png")


def _print_status(cells: list[CellStatus]) -> None:
    from collections import Counter

    from overfit_lab.cli.console import new_table, show

    table = new_table("cell", "settings", "state", "epoch", "host", "failure", overflow="fold")
    for cell in cells:
        words = (cell.folder, cell.name, cell.state, f"{cell.epoch}/{cell.epochs}", cell.host, cell.failure)
        table.add_row(*words)
    show(table, max([80, *(len(str(cell)) for cell in cells)]))
    counts = Counter(cell.state for cell in cells)
    say(f"{len(cells)} cells: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
