"""Jobs in a process that is watched: what fails or takes too long costs its own result and no other."""

from __future__ import annotations

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from overfit_lab.files.writing import make_folder, write_json

CONTEXT = multiprocessing.get_context("spawn")
LEAST = 1.0
"""Seconds that have to be left for a job to be begun."""
OF_THE_DEVICE = ("CUDA error", "cuDNN", "CUBLAS", "device-side assert")
"""What errors say after which a process is of no more use to its device."""


@dataclass(frozen=True)
class Job:
    """What is asked of the process.

    Args:
        name: of the result, and of its file.
        function: ``module:function``; gives plain values.
        limit: most seconds that it may take.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    limit: float = 60.0


class Results:
    """One JSON file a result, written when it is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, dict[str, Any]] = {}
        make_folder(folder)

    def add(self, name: str, content: dict[str, Any]) -> None:
        """Write a result, and say in a line how it ended."""
        self.all[name] = content
        write_json(self.folder / f"{name}.json", {"name": name, **content})
        seconds = f"{content['seconds']:.1f} s" if "seconds" in content else ""
        print(f"{content['status']:8}{seconds:>8}  {name}  {content.get('error', '')}".rstrip(), flush=True)

    def value(self, name: str) -> dict[str, Any]:
        """What a job gave; empty where it gave nothing."""
        return self.all.get(name, {}).get("result", {})


class Worker:
    """A process that does jobs one after the other, and another one after it died or was ended."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection | None = None

    def do(self, job: Job, deadline: float) -> dict[str, Any]:
        """The result of a job: its status ``ok``, ``failed`` or ``skipped``, with its error.

        Args:
            deadline: reading of time.monotonic at which a job is ended that is not done.
        """
        began = time.monotonic()
        if deadline - began < LEAST:
            return {"status": "skipped", "error": "no time was left"}
        content = self._ask(job, min(job.limit, deadline - began))
        return {**content, "seconds": round(time.monotonic() - began, 3)}

    def _ask(self, job: Job, limit: float) -> dict[str, Any]:
        connection = self._connection or self._start()
        try:
            connection.send((job.function, job.arguments))
            if not connection.poll(limit):
                self.end()
                return {"status": "failed", "error": f"was ended: took more than {limit:.0f} s"}
            content: dict[str, Any] = connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            self.end()
            return {"status": "failed", "error": f"the process died (exit status {code})"}
        if any(text in content.get("error", "") for text in OF_THE_DEVICE):
            self.end()
        return content

    def _start(self) -> Connection:
        self._connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self._connection

    def leave(self) -> None:
        """Let the process end by itself, where it has nothing to do."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._process.join(3)
        self.end()

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _serve(connection: Connection) -> None:
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_done(function, arguments))


def _done(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, name = function.partition(":")
    try:
        return {"status": "ok", "result": getattr(importlib.import_module(module), name)(**arguments)}
    except ModuleNotFoundError as error:
        return {"status": "skipped", "error": f"{error.name} is not installed"}
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
        return {"status": "failed", "error": said, "traceback": traceback.format_exc()[-4000:]}


def do_all(jobs: Sequence[Job], workers: Sequence[Worker], results: Results, deadline: float) -> None:
    """Do jobs in their order, shared out among workers; each result is written when it is there."""
    with ThreadPoolExecutor(len(workers)) as threads:
        free = list(workers)

        def do(job: Job) -> None:
            worker = free.pop()
            try:
                results.add(job.name, worker.do(job, deadline))
            finally:
                free.append(worker)

        list(threads.map(do, jobs))
