"""Runs named jobs in a fixed number of processes, and leaves no process behind.

Each job has a process of its own, so that one that is killed or runs out of memory takes no other with it, and a pipe
of its own, so that a kill in the middle of a message blocks nobody else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from overfit_lab.config import permission
from overfit_lab.errors import FailedError, OverfitLabError
from overfit_lab.processes.server import CarryingEnvironment, start_context, use_all_threads
from overfit_lab.processes.signals import OF_ONE, STOPPING, heard_in_words, in_a_job, told_to_stop

Report = Callable[[float, str], None]
"""How a job says where it stands: the share of its work that is done, in [0, 1], and a few words."""

GRACE = 15.0
"""Seconds that a process has to end by itself when it is told to stop."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Args:
        name: what the job is called in messages; unique among the jobs.
        work: a function of a module, called as ``work(report, *arguments)`` in the process. When it is told to stop,
            KeyboardInterrupt is raised in it.
        arguments: what it is called with; they are pickled.
    """

    name: str
    work: Callable[..., None]
    arguments: tuple[Any, ...] = ()


class Refusal(str):
    """Why a job failed, where its input is at fault."""


class Watcher:
    """Is told how the jobs get on, in the process that runs them; this one says nothing."""

    def started(self, name: str) -> None:
        """A job's process has been started."""

    def progressed(self, name: str, share: float, text: str) -> None:
        """A job reported where it stands."""

    def ended(self, name: str, failure: str | None) -> None:
        """A job is done, or has failed for the reason given."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job],
    watcher: Watcher,
    *,
    n_processes: int,
    n_threads: int | None = None,
    stop_at_failure: bool = False,
    n_retries: int = 0,
    import_main: bool = True,
    from_server: bool = False,
) -> dict[str, str]:
    """Run jobs, at most ``n_processes`` at a time, and wait for all of them.

    Processes begin with nothing of this one ("spawn", "forkserver"), so a script that calls this guards its own
    beginning by ``if __name__ == "__main__":``.

    Args:
        jobs: in the order in which they are started.
        watcher: is told how they get on.
        n_processes: jobs at a time.
        n_threads: threads of torch in each process; None leaves torch its own number.
        stop_at_failure: end all jobs when the first one fails.
        n_retries: how often a job that failed is begun again, after those that wait. The watcher is told of the last
            failure alone.
        import_main: processes import the file that this process was begun with, where the jobs' code may lie.
        from_server: processes come from a server that has loaded the package once, where the system has such; see
            :mod:`overfit_lab.processes.server`. Else each loads it by itself.

    Returns:
        For each job that failed the reason, in one line; a :class:`Refusal` where its input is at fault.

    Raises:
        KeyboardInterrupt: a signal that stops came; every job was told to stop and has ended.
    """
    waiting = list(jobs)
    running: dict[str, _Worker] = {}
    failures: dict[str, str] = {}
    left = {job.name: n_retries for job in jobs}
    with told_to_stop() as stop:
        try:
            while (waiting or running) and not (failures and stop_at_failure):
                if stop.is_set():
                    raise KeyboardInterrupt
                while waiting and len(running) < n_processes:
                    job = waiting.pop(0)
                    running[job.name] = _Worker(job, n_threads, import_main, from_server)
                    if left[job.name] == n_retries:
                        watcher.started(job.name)
                readers = [w.reader for w in running.values() if not w.reader.closed]
                connection.wait([*(w.process.sentinel for w in running.values()), *readers], timeout=0.2)
                for name, worker in list(running.items()):
                    has_ended = worker.process.exitcode is not None
                    for share, text in worker.reports():
                        watcher.progressed(name, share, text)
                    if has_ended:
                        del running[name]
                        failure = worker.failure()
                        if failure is not None and left[name]:
                            left[name] -= 1
                            waiting.append(worker.job)
                            watcher.progressed(name, 0.0, f"again after: {failure}")
                            continue
                        if failure is not None:
                            failures[name] = failure
                        watcher.ended(name, failure)
        finally:
            _stop([worker.process for worker in running.values()])
    return failures


class _Worker:
    """One job's process and the end of its pipe that we read."""

    def __init__(self, job: Job, n_threads: int | None, import_main: bool, from_server: bool) -> None:
        self.job = job
        self._said_end, self._reason = False, ""
        with _clean_start(), nullcontext() if import_main else _no_main():
            context: Any = start_context(from_server=from_server)
            self.reader, writer = context.Pipe(duplex=False)
            self.process = context.Process(
                target=_work,
                args=(writer, job.work, job.arguments, n_threads, permission.current()),
                name=CarryingEnvironment(job.name),
                daemon=True,
            )
            self.process.start()
        writer.close()

    def reports(self) -> Iterator[tuple[float, str]]:
        """What the job reported since the last time."""
        try:
            while not self.reader.closed and self.reader.poll():
                share, text = self.reader.recv()
                if share is None:
                    self._said_end, self._reason = True, text
                else:
                    yield share, text
        except (EOFError, OSError):
            self.reader.close()

    def failure(self) -> str | None:
        """Why the job failed; None where it is done. Only after its process has ended and its reports were read."""
        self.reader.close()
        if self._said_end:
            return self._reason or None
        code = self.process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return f"its process was killed by {name}{hint}"
        return f"its process ended with exit status {code}"


def _stop(processes: Collection[Any]) -> None:
    """Tell processes to stop, wait, and kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


@contextmanager
def _clean_start() -> Iterator[None]:
    """For the start of a process: a Ctrl-C does not reach it, and it imports nothing from the current folder.

    The terminal sends its signals to every process; the parent's handler is the one that counts. A fresh interpreter
    has the current folder first on its path until it is told the parent's, except with PYTHONSAFEPATH.
    """
    safe_path = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    resource_tracker.ensure_running()  # starting it would unblock SIGINT
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, set(STOPPING) - set(OF_ONE))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if safe_path is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe_path


@contextmanager
def _no_main() -> Iterator[None]:
    """For the start of a process: it is not told which file this process was begun with."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(
    writer: Connection,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    n_threads: int | None,
    permitted: permission.Permission,
) -> None:
    """Do one job; runs in the job's process, which may import what its parent may."""
    permission.grant(permitted)
    in_a_job()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(share: float, text: str) -> None:
        with suppress(OSError):  # a parent that is gone ends this process by itself, see above
            writer.send((share, text[:500]))

    reason = ""
    try:
        use_all_threads()
        if n_threads is not None:
            import torch

            torch.set_num_threads(n_threads)
        work(report, *arguments)
    except KeyboardInterrupt:
        reason = f"was told to stop{heard_in_words()}"
    except Exception as error:
        reason = _describe(error)
    for number in OF_ONE:
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        writer.send((None, type(reason)(reason[:2000])))


def _describe(error: Exception) -> str:
    """An error in one line; with OVERFIT_LAB_DEBUG also where it came from, on stderr."""
    text = " ".join(str(error).split())
    if isinstance(error, OverfitLabError):
        return Refusal(text)
    if isinstance(error, FailedError):
        return text
    if os.environ.get("OVERFIT_LAB_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    return f"unexpected {type(error).__name__}: {text}".rstrip(": ")


def _end_with_parent() -> None:
    """Stop this process when its parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
