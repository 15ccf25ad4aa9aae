"""A Ray cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import Field

from overfit_lab.config import Options as OptionsBase
from overfit_lab.errors import ConfigError, missing
from overfit_lab.files.terminal import to_stderr
from overfit_lab.processes.pool import GRACE, Watcher, usable_cores
from overfit_lab.processes.signals import told_to_stop
from overfit_lab.sweeps.backends.base import Backend, without_idle_device
from overfit_lab.sweeps.beat import read_beat
from overfit_lab.sweeps.spec import RUNS
from overfit_lab.sweeps.work import CellJob, look_after

POLL = 0.5
"""Seconds between looks at how the cells get on."""
MOVES = 10
"""How often a cell may lose its node before it counts as failed."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_enable_metrics_collection": "0",
}
"""No usage is reported to anybody, and nothing is said that a user cannot act on."""


class RayBackend(Backend):
    """Each cell a task on a Ray cluster; one whose node is lost goes on elsewhere from its last checkpoint.

    The folder of the sweep has to lie on a disk that all nodes share, under the same path, and the nodes have to have
    the same version of overfit-lab. Cells end when this process ends.
    """

    class Options(OptionsBase):
        """Options of the Ray backend."""

        address: str | None = Field(
            None,
            json_schema_extra=RUNS,
            description="of the cluster to join, such as auto or HOST:6379; null: RAY_ADDRESS, else one is started",
        )

    def check(self, device: str) -> None:
        """The package is there."""
        if importlib.util.find_spec("ray") is None:
            raise missing("ray", "ray")

    def run(self, jobs: Sequence[CellJob], watcher: Watcher) -> dict[str, str]:
        """Have every cell trained, and wait."""
        jobs = [without_idle_device(job) for job in jobs]
        with told_to_stop() as stop, self._cluster() as ray:
            _check_room(ray, jobs)
            return _Tasks(ray, jobs, watcher, self.jobs).finish(stop)

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected to the cluster, or to one of this machine's own that is gone afterwards."""
        address = self.options.address or os.environ.get("RAY_ADDRESS") or None
        for key, value in QUIET.items():
            os.environ.setdefault(key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray

            started: dict[str, Any] = {} if address else {"num_cpus": usable_cores(), "include_dashboard": False}
            started["job_config"] = ray.job_config.JobConfig(_py_driver_sys_path=_SearchedHere())
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(f"ray: cannot join the cluster at {address!r} ({reason})") from error
            try:
                with _silent():
                    yield ray
            finally:
                ray.shutdown()


class _SearchedHere(list[str]):
    """Folders that Ray's workers search for modules: of those that Ray adds, the ones that this process searches too.

    Ray adds the current folder, unasked and first. There is no public switch for it.
    """

    def __bool__(self) -> bool:
        return True  # so that Ray keeps this list

    def extend(self, folders: Iterable[str]) -> None:
        super().extend(folder for folder in folders if folder in sys.path)


@contextmanager
def _silent() -> Iterator[None]:
    """What raylets say of lost nodes is not printed. There is no public switch for it."""
    from ray._private import worker

    before = getattr(worker, "_worker_logs_enabled", None)
    if before is not None:
        worker._worker_logs_enabled = False
    try:
        yield
    finally:
        if before is not None:
            worker._worker_logs_enabled = before


class _Tasks:
    """The cells as tasks of Ray, and what is known of them."""

    def __init__(self, ray: Any, jobs: Sequence[CellJob], watcher: Watcher, at_a_time: int | None) -> None:
        self._ray, self._watcher = ray, watcher
        self._at_a_time = at_a_time or len(jobs)
        self._waiting = list(jobs)
        self._running: dict[Any, CellJob] = {}
        self._started: set[str] = set()
        self._failures: dict[str, str] = {}

    def finish(self, stop: Any) -> dict[str, str]:
        """Wait for all of them; KeyboardInterrupt where they were told to stop, and have stopped."""
        submitted = time.time()
        while self._waiting or self._running:
            if stop.is_set():
                self._cancel()
                raise KeyboardInterrupt
            while self._waiting and len(self._running) < self._at_a_time:
                job = self._waiting.pop(0)
                self._running[self._submit(job)] = job
            ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL)
            for reference in ended:
                self._take(reference, self._running.pop(reference))
            for job in self._running.values():
                self._look_at(job, submitted)
        return self._failures

    def _submit(self, job: CellJob) -> Any:
        needs = job.resources
        task = self._ray.remote(look_after).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory_bytes,
            max_retries=MOVES,
            name=job.name,
        )
        return task.remote(job)

    def _look_at(self, job: CellJob, since: float) -> None:
        """Pass on what a cell's signs of life say."""
        beat = read_beat(job.beat)
        if beat is None or beat.state != "running" or beat.time < since:
            return
        self._start(job)
        self._watcher.progressed(job.name, beat.share, beat.text or f"on {beat.host}")

    def _start(self, job: CellJob) -> None:
        if job.name not in self._started:
            self._started.add(job.name)
            self._watcher.started(job.name)

    def _take(self, reference: Any, job: CellJob) -> None:
        """The end of one task."""
        try:
            failure = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            failure = f"{type(error).__name__}: {' '.join(lines[-1:])}"[:300]
        self._start(job)
        if failure is not None:
            self._failures[job.name] = failure
        self._watcher.ended(job.name, failure)

    def _cancel(self) -> None:
        """Tell every cell to stop, and wait until they have."""
        for reference in self._running:
            self._ray.cancel(reference)
        with suppress(self._ray.exceptions.RayError):
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE + 5)


def _check_room(ray: Any, jobs: Sequence[CellJob]) -> None:
    """Say so where no node of the cluster has what a cell needs: it would wait until one joins."""
    if not jobs:
        return
    needs = jobs[0].resources
    want = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes or 0}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(key, 0) >= n for key, n in want.items()) for node in nodes):
        most = ", ".join(f"{key} {max((node.get(key, 0) for node in nodes), default=0):g}" for key in want)
        to_stderr(f"no node of the Ray cluster has what a cell needs (at most {most}); waiting for one")


REGISTER = {"ray": RayBackend}
