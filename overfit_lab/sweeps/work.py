"""Trains one cell of a sweep in a process of its own, with a log, signs of life and retries."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overfit_lab.config import permission
from overfit_lab.config.permission import NOTHING, Permission
from overfit_lab.errors import FailedError, FolderBusyError, OverfitLabError, of_file
from overfit_lab.files.reading import open_file
from overfit_lab.files.terminal import say, say_lines, to_stderr
from overfit_lab.files.writing import make_folder
from overfit_lab.processes.pool import GRACE, Job, Report, Watcher, run_jobs
from overfit_lab.records import layout
from overfit_lab.records.computed import config_of
from overfit_lab.records.status import DIVERGED, divergence_in_words, mark_ended
from overfit_lab.sweeps.beat import Heart, beat_path, claim, release
from overfit_lab.sweeps.spec import Resources

if TYPE_CHECKING:
    from overfit_lab.training.events import EventBus
    from overfit_lab.types import Clock

REPORT_EVERY = 0.5
"""Seconds between what a cell reports of itself."""
LOG_LINES = 5
"""How many of a log's last lines are shown for a cell that failed."""


def log_path(cell: Path) -> Path:
    """What the processes of a cell printed, beside its run folder."""
    return cell.parent / "logs" / f"{cell.name}.log"


@dataclass(frozen=True)
class CellJob:
    """What a machine needs to train a cell: plain values that any backend can send.

    Args:
        name: of the cell in messages.
        folder: of its run.
        config: complete, as nested plain values.
        resources: what it needs.
        retries: how often a cell that failed is begun again.
        device: ``auto``, ``cpu`` or ``cuda``.
        sinks: names of what gets the records too.
        permitted: whose code it may import, as where the sweep was begun.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    resources: Resources
    retries: int = 0
    device: str = "auto"
    sinks: tuple[str, ...] = ()
    permitted: Permission = NOTHING

    @property
    def beat(self) -> Path:
        """The file of its signs of life."""
        return beat_path(self.folder)

    @property
    def log(self) -> Path:
        """What its processes print."""
        return log_path(self.folder)


def look_after(job: CellJob) -> str | None:
    """Train a cell with its retries and wait for it; backends call this on the machine that trains.

    SIGINT and SIGTERM stop the run where it is, and it can be gone on with.

    Returns:
        Why it failed, in one line; None where it is completed.

    Raises:
        KeyboardInterrupt: it was told to stop.
    """
    permission.grant(job.permitted)
    token = claim(job.beat).token
    work = Job(job.name, attempt, (job, token))
    try:
        failures = run_jobs(
            [work],
            Watcher(),
            n_processes=1,
            n_threads=job.resources.cpus,
            n_retries=job.retries,
            import_main=False,  # it is the backend's own worker
        )
    except BaseException:
        mark_ended(job.folder, "interrupted")
        release(job.beat, token, "stopped")
        raise
    failure = failures.get(job.name)
    if failure is not None:
        mark_ended(job.folder, "failed")
    release(job.beat, token, "completed" if failure is None else "failed", failure or "")
    return failure


def attempt(report: Report, job: CellJob, token: str) -> None:
    """Train a cell once, from its last checkpoint if it has one; runs in a process of its own.

    What it prints goes into the cell's log.
    """
    _print_into(job.log)
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    say(f"{when} {job.name} on {socket.gethostname()}, process {os.getpid()}")
    try:
        with Heart(job.beat, token).beating() as heart:
            _train(report, job, heart)
    except KeyboardInterrupt:
        say("told to stop")
        raise
    except (OverfitLabError, FailedError) as error:
        to_stderr(" ".join(str(error).split()))
        raise
    except OSError as error:  # a disk that is full or fails is no bug, and its file says enough
        to_stderr(of_file(error))
        raise FailedError(of_file(error)) from error
    except Exception as error:
        say_lines("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
        raise
    say("completed")


def _train(report: Report, job: CellJob, heart: Heart) -> None:
    from overfit_lab.config import parse_config
    from overfit_lab.sweeps.cells import check_same_run
    from overfit_lab.training.events import EpochEnded
    from overfit_lab.training.run import train_run

    def tell(share: float, text: str) -> None:
        heart.progressed(share, text)
        report(share, text)

    heart.check()
    config = parse_config(job.config, job.name)
    if layout.is_run(job.folder):
        check_same_run(job.folder, config)
        config = config_of(job.folder)
    bus = _reporting(tell, config.epochs)
    bus.on(EpochEnded, lambda _: heart.check())  # before anything of the epoch is written
    deadline = time.monotonic() + GRACE
    while True:
        try:
            status = train_run(
                config, job.folder, resume=layout.is_run(job.folder), device=job.device, bus=bus, sinks=job.sinks,
                on_note=to_stderr,
            )  # fmt: skip
            break
        except FolderBusyError:  # a process that was killed, or told to stop, has not yet ended
            if time.monotonic() > deadline:
                raise
            time.sleep(REPORT_EVERY)
    if status == "interrupted":
        raise KeyboardInterrupt
    if status == DIVERGED:
        raise FailedError(divergence_in_words(job.folder))


def _reporting(report: Report, n_epochs: int) -> EventBus:
    """A bus whose run reports where it stands, not too often."""
    from overfit_lab.training.events import EpochEnded, EventBus, RunStarted, StepEnded

    last = 0.0

    def tell(clock: Clock) -> None:
        nonlocal last
        last = time.monotonic()
        report(clock.progress / n_epochs, f"epoch {min(clock.epoch + 1, n_epochs)}/{n_epochs}")

    def step_ended(event: StepEnded) -> None:
        if time.monotonic() - last > REPORT_EVERY:
            tell(event.clock)

    bus = EventBus()
    bus.on(RunStarted, lambda event: tell(event.snapshot.clock))
    bus.on(StepEnded, step_ended)
    bus.on(EpochEnded, lambda event: tell(event.snapshot.clock))
    return bus


def _print_into(path: Path) -> None:
    """This process's stdout and stderr, those of C libraries too, to the end of a file."""
    make_folder(path.parent)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def last_lines(path: Path, n: int = LOG_LINES) -> list[str]:
    """The last lines of a log that are not empty; none where there is no log."""
    try:
        with open_file(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-n:]
