"""A server process that has loaded the package, from which each process of a sweep is forked in no time.

Python's own (``multiprocessing.forkserver``), begun when the first job is, ended with whoever began it. It has one
thread and never looks at CUDA, so that what is forked from it may. What a job's process depends on comes with the job:
the environment, the current folder, the path of modules, whose code may be imported.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from overfit_lab.processes.signals import STOPPING

PRELOADED = "overfit_lab.processes.preloaded"
READ_ONCE = ("OMP_", "MKL_", "OPENBLAS_", "GOMP_", "KMP_", "LD_", "MALLOC_", "PYTHON", "TORCH_", "PYTORCH_", "ARROW_")
"""Beginnings of variables that are read when Python or a library is loaded; with other values a server is of no use."""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For the server alone, so that libraries begin no thread when they are loaded; its jobs have as many as ever."""


class _Server:
    """The server of this process, by what it was begun with; Python has one a process."""

    begun_by = 0
    begun_with: dict[str, str] | None = None


def start_context(*, from_server: bool) -> BaseContext:
    """How a process is started: from the server, where that is asked for and can be had, else afresh ("spawn").

    Args:
        from_server: worth it where several processes are started one after another.

    Signals that stop are blocked in the server: it ends with whoever began it, and not by a signal to all of a group.
    """
    if not from_server or sys.platform != "linux" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    read = {name: value for name, value in os.environ.items() if name.startswith(READ_ONCE)}
    if _Server.begun_with is None:
        _begin()
        _Server.begun_by, _Server.begun_with = os.getpid(), read
    if (_Server.begun_by, _Server.begun_with) != (os.getpid(), read):
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def _begin() -> None:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    for_it = {**ONE_THREAD, "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in for_it}
    multiprocessing.set_forkserver_preload([PRELOADED])
    os.environ.update(for_it)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class CarryingEnvironment(str):
    """A process's name that brings the environment along: unpickled before any of the user's code is imported."""

    def __reduce__(self) -> tuple[Callable[..., str], tuple[Any, ...]]:
        return _named, (str(self), dict(os.environ))


def _named(name: str, environment: dict[str, str]) -> str:
    os.environ.clear()
    os.environ.update(environment)
    return name


def use_all_threads() -> None:
    """In a process that was forked from the server: as many threads of the BLAS as a process of its own would have."""
    if PRELOADED not in sys.modules:
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    said = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threadpool_limits(int(said) if said.isdecimal() else cores, user_api="blas")
