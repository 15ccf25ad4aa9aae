"""Start or resume a sweep: plan its cells, write sweep.json, train those that are not completed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overfit_lab.config.permission import current
from overfit_lab.errors import ConfigError, FolderBusyError, RunFolderError
from overfit_lab.files.writing import make_folder, remove_abandoned
from overfit_lab.processes.pool import Watcher
from overfit_lab.records import layout
from overfit_lab.records.sinks.mirror import make_sinks
from overfit_lab.records.status import status_of
from overfit_lab.records.writer import take_lock
from overfit_lab.sweeps.backends.base import Backend, make_backend
from overfit_lab.sweeps.beat import BEATS
from overfit_lab.sweeps.cells import check_cells_trusted, check_spec_trusted, extend, is_completed, plan
from overfit_lab.sweeps.manifest import (
    Manifest,
    SweepCell,
    check_no_old_grid,
    manifest_path,
    read_manifest,
    write_manifest,
)
from overfit_lab.sweeps.spec import SweepSpec, parse_spec
from overfit_lab.sweeps.work import CellJob
from overfit_lab.training.subjects import OnNote, data_line

Watch = Callable[[int, int], AbstractContextManager[Watcher]]


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Args:
        folder: of the sweep.
        cells: all that it has.
        n_trained: how many were begun or gone on with now; the others were completed before.
        failures: the reason in one line, by the names of the cells that failed.
        detached: nobody waited for the cells.
    """

    folder: Path
    cells: list[SweepCell]
    n_trained: int
    failures: dict[str, str]
    detached: bool = False

    @property
    def completed(self) -> list[Path]:
        """The run folders of the cells that are completed, in order."""
        paths = [self.folder / cell.folder for cell in self.cells]
        return [path for path in paths if layout.is_run(path) and status_of(path) == "completed"]


def run_sweep(
    spec: SweepSpec,
    folder: Path,
    *,
    beside: Path = Path(),
    detach: bool = False,
    trust: bool = False,
    watch: Watch = lambda *_: nullcontext(Watcher()),
    on_note: OnNote | None = None,
) -> SweepResult:
    """Train every cell of a sweep that is not completed; one that fails stops no other.

    A folder that holds a sweep of the same base is extended: its completed cells are not trained again, interrupted
    and failed ones are gone on with, new ones are begun. Every configuration is checked before anything is written.
    A sweep that was stopped or killed at any moment and is gone on with has the records of an uninterrupted one, and a
    cell those of a plain run of its configuration (both to the bit on the CPU with ``resources.cpus`` threads). With
    the local backend a script guards its own beginning by ``if __name__ == "__main__":``, since processes are started
    afresh.

    Args:
        spec: the sweep.
        folder: of the sweep; each cell is a run folder in it, named after its settings and
            :func:`overfit_lab.sweeps.identity.cell_id`.
        beside: where a base that is a file is looked for.
        detach: do not wait for the cells, where the backend can do that.
        trust: the code that the sweep names may be imported.
        watch: is called with the number of cells and that of those completed before; what it gives is told how the
            cells get on.
        on_note: told in a line what data the cells read, once where they read the same.

    Raises:
        ConfigError: a wrong key, value or cell; the message names it.
        RunFolderError: the folder is occupied, holds a sweep of another base, or cannot be written to.
        OverfitLabError: what the backend needs is not there.
        KeyboardInterrupt: SIGINT or SIGTERM came; every cell was told to stop and can be gone on with.
    """
    check_spec_trusted(spec, "the sweep", trust=trust)
    make_sinks(spec.log)
    backend = _backend(spec, detach)
    manifest = plan(spec, beside, trust=trust)
    n_cells = len(manifest.cells)
    is_new = not manifest_path(folder).is_file()
    if is_new:
        _check_vacant(folder)
    with _held(folder):
        if not is_new:
            manifest = extend(read_manifest(folder), manifest, folder)
        write_manifest(folder, manifest)
        return _train(folder, manifest, manifest.cells[:n_cells], backend, detach, watch, on_note)


def resume_sweep(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    detach: bool = False,
    trust: bool = False,
    watch: Watch = lambda *_: nullcontext(Watcher()),
    on_note: OnNote | None = None,
) -> SweepResult:
    """Go on with what of a sweep is not completed, from its folder alone.

    Args:
        folder: of the sweep.
        changes: of how the cells are run, such as ``{"backend": "ray"}``; kept for the next time.
        detach: do not wait for the cells, where the backend can do that.
        trust: the code that the folder's configurations name may be imported.
        watch: see :func:`run_sweep`.
        on_note: see :func:`run_sweep`.

    Raises:
        ConfigError: a wrong change, or code without ``trust``.
        RunFolderError: no sweep, damaged, or another process runs it.
        OverfitLabError: what the backend needs is not there.
        KeyboardInterrupt: SIGINT or SIGTERM came; every cell was told to stop and can be gone on with.
    """
    manifest = read_manifest(folder)
    spec = parse_spec({**manifest.spec.model_dump(mode="json"), **(changes or {})}, str(folder))
    check_spec_trusted(spec, str(folder), trust=trust)
    check_cells_trusted(manifest.cells, str(folder), trust=trust)
    make_sinks(spec.log)
    backend = _backend(spec, detach)
    with _held(folder):
        manifest = replace(manifest, spec=spec)
        write_manifest(folder, manifest)
        return _train(folder, manifest, manifest.cells, backend, detach, watch, on_note)


def _backend(spec: SweepSpec, detach: bool) -> Backend:
    backend = make_backend(spec.backend, spec.backends.get(spec.backend, {}), spec.jobs, spec.device)
    if detach and not backend.detaches:
        raise ConfigError(f"--detach: cells of the backend {spec.backend!r} end when nobody waits for them")
    return backend


def _train(
    folder: Path,
    manifest: Manifest,
    cells: list[SweepCell],
    backend: Backend,
    detach: bool,
    watch: Watch,
    on_note: OnNote | None,
) -> SweepResult:
    spec = manifest.spec
    waiting = [cell for cell in cells if not is_completed(folder, cell)]
    jobs = [
        CellJob(
            cell.name,
            (folder / cell.folder).resolve(),
            cell.config,
            spec.resources,
            retries=spec.retries,
            device=spec.device,
            sinks=spec.log,
            permitted=current(),
        )
        for cell in _named_apart(waiting)
    ]
    if detach:
        backend.submit(jobs, folder)
        return SweepResult(folder, manifest.cells, len(jobs), {}, detached=True)
    with watch(len(cells), len(cells) - len(waiting)) as watcher:
        told = watcher if on_note is None else _TellsData(watcher, jobs, on_note)
        failures = backend.run(jobs, told) if jobs else {}
    return SweepResult(folder, manifest.cells, len(jobs), failures)


class _TellsData(Watcher):
    """Passes on what it is told of the cells; what data they read is said once, as soon as the first one has."""

    def __init__(self, watcher: Watcher, jobs: Sequence[CellJob], on_note: OnNote) -> None:
        self._watcher, self._on_note = watcher, on_note
        self._unread = {job.name: job.folder for job in jobs}
        self._said: set[str] = set()

    def started(self, name: str) -> None:
        """A cell begins or is resumed."""
        self._watcher.started(name)

    def progressed(self, name: str, share: float, text: str) -> None:
        """A cell has done a share of its epochs."""
        self._look(name)
        self._watcher.progressed(name, share, text)

    def ended(self, name: str, failure: str | None) -> None:
        """A cell is done or has failed."""
        self._look(name)
        self._watcher.ended(name, failure)

    def _look(self, name: str) -> None:
        folder = self._unread.get(name)
        if folder is None or not layout.is_run(folder):
            return
        del self._unread[name]
        described = layout.read_info(folder).get("data", {}).get("read_as")
        if described and described not in self._said:
            self._said.add(described)
            self._on_note(data_line(described))


def _named_apart(cells: list[SweepCell]) -> list[SweepCell]:
    """Cells of earlier axes may be called like others; each gets a name of its own."""
    names: set[str] = set()
    apart = []
    for cell in cells:
        name = cell.name if cell.name not in names else f"{cell.name} ({cell.folder})"
        names.add(name)
        apart.append(replace(cell, name=name))
    return apart


def _check_vacant(folder: Path) -> None:
    check_no_old_grid(folder)
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".lock", f".{layout.SWEEP}.partial"}:
        return  # what a kill before the manifest leaves
    layout.check_vacant(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The sweep's folder made and held for this process."""
    layout.check_writable(folder)
    try:
        make_folder(folder)
        lock = take_lock(folder)
    except FolderBusyError as error:
        raise FolderBusyError(f"{folder}: another process is running this sweep") from error
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written to ({error.strerror})") from error
    with lock:
        remove_abandoned(folder / BEATS)
        yield
