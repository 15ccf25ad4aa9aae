"""What a backend is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from overfit_lab.config import Options as OptionsBase
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ConfigError
from overfit_lab.processes.pool import Watcher
from overfit_lab.sweeps.work import CellJob


class Backend(ABC):
    """Has cells trained somewhere, and waits for them.

    On the machine that a cell comes to, :func:`overfit_lab.sweeps.work.look_after` does everything: log, signs of life,
    retries, what run.json says. A backend brings it there, and brings the cell elsewhere when the machine is lost.

    Args:
        options: checked ones of the class' own ``Options``.
        jobs: cells at a time; None for as many as there is room for.
    """

    detaches: ClassVar[bool] = False
    """Whether cells go on when nobody waits for them."""

    class Options(OptionsBase):
        """The backend's own options; none."""

    def __init__(self, options: Any, jobs: int | None = None) -> None:
        self.options = options
        self.jobs = jobs

    def check(self, device: str) -> None:  # noqa: B027
        """Refuse, before anything is written, where this cannot work: a package, a command or a device is missing.

        Args:
            device: of the cells: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            OverfitLabError: in one line, what to do.
        """

    @abstractmethod
    def run(self, jobs: Sequence[CellJob], watcher: Watcher) -> dict[str, str]:
        """Have every cell trained, and wait. A cell that fails stops no other.

        Args:
            jobs: the cells, in the order in which they are begun.
            watcher: is told how they get on, by their names.

        Returns:
            For each cell that failed the reason in one line, by its name.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM came; every cell was told to stop and can be gone on with.
        """

    def submit(self, jobs: Sequence[CellJob], folder: Path) -> None:
        """Have every cell trained, and do not wait. Only where :attr:`detaches`."""
        raise NotImplementedError


def make_backend(name: str, options: dict[str, Any], jobs: int | None, device: str = "auto") -> Backend:
    """A backend by name, its options checked.

    Raises:
        ConfigError: no such backend or option, or a wrong value.
        OverfitLabError: what it needs is not there.
    """
    from overfit_lab.config.catalog import BACKENDS

    cls = BACKENDS[name]
    backend: Backend = cls(parse_options(cls, options, prefix=f"backends.{name}"), jobs)
    backend.check(device)
    return backend


def without_idle_device(job: CellJob) -> CellJob:
    """The job for a machine that hands out devices: one that asked for none is trained on the CPU.

    Raises:
        ConfigError: it wants CUDA and asks for no GPU.
    """
    if job.resources.gpus:
        return job
    if job.device == "cuda":
        raise ConfigError("device 'cuda' needs resources.gpus: 1")
    return replace(job, device="cpu")
