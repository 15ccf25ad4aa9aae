"""Processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from overfit_lab.errors import ConfigError
from overfit_lab.processes.pool import Job, Report, Watcher, run_jobs, usable_cores
from overfit_lab.records.status import mark_ended
from overfit_lab.sweeps.backends.base import Backend
from overfit_lab.sweeps.beat import claim, release
from overfit_lab.sweeps.devices import take, visible_devices
from overfit_lab.sweeps.work import CellJob, attempt


class LocalBackend(Backend):
    """Each cell in a process of its own on this machine, as many at a time as there are cores or GPUs for.

    On CUDA each cell sees the ``gpus`` (one at least) that no other cell of the sweep has; where none are named and
    ``jobs`` is above the number of GPUs, cells share them. Cells end when this process ends, however it ends. Of a
    cell's other resources ``cpus`` counts: its threads.
    """

    def check(self, device: str) -> None:
        """The device is there."""
        from overfit_lab.training.compute import resolve_device

        resolve_device(device)

    def run(self, jobs: Sequence[CellJob], watcher: Watcher) -> dict[str, str]:
        """Have every cell trained, and wait."""
        from overfit_lab.training.compute import resolve_device

        if not jobs:
            return {}
        first = jobs[0]
        room, devices = max(1, usable_cores() // first.resources.cpus), []
        each, n_shares = max(1, first.resources.gpus), 1
        if resolve_device(first.device).type == "cuda":
            import torch

            devices = visible_devices(torch.cuda.device_count)
            room = len(devices) // each
            if room == 0:
                raise ConfigError(f"resources.gpus = {each}: this machine has {len(devices)}")
            if not first.resources.gpus and self.jobs is not None:
                n_shares = -(-self.jobs // room)
        tokens = {job.name: claim(job.beat, "queued").token for job in jobs}
        keeper = _Keeper(watcher, jobs, tokens)
        try:
            return run_jobs(
                [Job(job.name, attempt_on, (job, tokens[job.name], devices, each, n_shares)) for job in jobs],
                keeper,
                n_processes=min(self.jobs or room, len(jobs)),
                n_threads=first.resources.cpus,
                n_retries=first.retries,
                from_server=len(jobs) > 1,
            )
        finally:
            keeper.stopped()


def attempt_on(report: Report, job: CellJob, token: str, devices: Sequence[str], n: int, n_shares: int) -> None:
    """Train a cell on GPUs of its own, where there are any; runs in a process of its own."""
    with take(job.folder.parent / "devices", devices, n, n_shares) if devices else nullcontext():
        attempt(report, job, token)


class _Keeper(Watcher):
    """Passes on what a watcher is told, and notes on disk how each cell ended."""

    def __init__(self, watcher: Watcher, jobs: Sequence[CellJob], tokens: dict[str, str]) -> None:
        self._watcher, self._tokens = watcher, tokens
        self._running: set[str] = set()
        self._waiting = {job.name: job for job in jobs}

    def started(self, name: str) -> None:
        self._running.add(name)
        self._watcher.started(name)

    def progressed(self, name: str, share: float, text: str) -> None:
        self._watcher.progressed(name, share, text)

    def ended(self, name: str, failure: str | None) -> None:
        job = self._waiting.pop(name)
        if failure is not None:
            mark_ended(job.folder, "failed")
        release(job.beat, self._tokens[name], "completed" if failure is None else "failed", failure or "")
        self._watcher.ended(name, failure)

    def stopped(self) -> None:
        """Whatever has not ended has been told to stop."""
        for name, job in self._waiting.items():
            mark_ended(job.folder, "interrupted")
            release(job.beat, self._tokens[name], "stopped" if name in self._running else "queued")


REGISTER = {"local": LocalBackend}
