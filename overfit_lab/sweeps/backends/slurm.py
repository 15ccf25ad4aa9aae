"""Slurm, through submitit."""

from __future__ import annotations

import importlib.util
import multiprocessing
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from overfit_lab.config import Options as OptionsBase
from overfit_lab.errors import ConfigError, OverfitLabError, missing
from overfit_lab.files.reading import read_bytes
from overfit_lab.files.writing import make_folder, write_bytes
from overfit_lab.processes.pool import GRACE, Watcher
from overfit_lab.processes.signals import told_to_stop
from overfit_lab.records.status import status_of
from overfit_lab.sweeps.backends.base import Backend, without_idle_device
from overfit_lab.sweeps.beat import claim, read_beat
from overfit_lab.sweeps.spec import RUNS
from overfit_lab.sweeps.work import CellJob, look_after

Word = Annotated[str, Field(pattern=r"^[\w.,:@|&*()\[\]/+-]+$")]
"""What sbatch reads as one value of one option; a line break in it would begin a line of shell."""
NUMBER = 100
"""Bytes of a file with the number of a job."""
POLL = 2.0
"""Seconds between looks at the files and at the queue."""
DEFAULT_MINUTES = 60
"""Time limit of a job whose sweep names none; a cell that reaches it goes on in a job after it."""
AWAY = 15.0
"""Seconds that a job may be in no queue before it counts as ended: a queue that was read too early, a slow disk."""


class SlurmBackend(Backend):
    """Each cell a task of one job array; a requeued one goes on from its last checkpoint.

    A job is requeued at its time limit, where a node is lost, and where it is preempted. The folder of the sweep has to
    lie on a disk that all nodes share, under the same path, and so has the Python that submits. The queue is read by
    ``squeue``; no accounting is needed. Interrupting a sweep that is waited for cancels its jobs.
    """

    detaches = True

    class Options(OptionsBase):
        """Options of the Slurm backend; null leaves the cluster its default."""

        partition: Word | None = Field(None, description="partition, or several separated by commas")
        account: Word | None = None
        qos: Word | None = None
        constraint: Word | None = None
        requeues: int = Field(100, ge=0, description="how often a cell may reach its time limit and go on")
        warning: int = Field(90, ge=1, description="seconds before the time limit at which a cell is told to stop")
        setup: tuple[str, ...] = Field(
            (), json_schema_extra=RUNS, description="lines of shell to run first, such as 'module load cuda'"
        )
        srun: bool = Field(True, description="start the cell by srun; false where srun does not work within jobs")
        more: dict[str, Any] = Field(
            {}, json_schema_extra=RUNS, description="further options of sbatch, by their long names"
        )

    def check(self, device: str) -> None:
        """The package and the commands of Slurm are there."""
        if importlib.util.find_spec("submitit") is None:
            raise missing("submitit", "slurm")
        for command in ("sbatch", "squeue", "scancel"):
            if shutil.which(command) is None:
                raise ConfigError(f"slurm: no command {command!r} here; is this a machine that submits to Slurm?")

    def run(self, jobs: Sequence[CellJob], watcher: Watcher) -> dict[str, str]:
        """Have every cell trained, and wait."""
        with told_to_stop() as stop:
            self.submit(jobs, jobs[0].folder.parent)
            return _Waiting(jobs, watcher).finish(stop)

    def submit(self, jobs: Sequence[CellJob], folder: Path) -> None:
        """Put those cells into the queue that are not in it already."""
        queue = read_queue()
        new = [without_idle_device(job) for job in jobs if _number(job) not in queue]
        if not new:
            return
        for job in new:
            claim(job.beat, "queued")
        numbers = self._array(new, (folder / "slurm").resolve())
        for job, number in zip(new, numbers, strict=True):
            write_bytes(_numbers(folder) / job.folder.name, number.encode())

    def _array(self, jobs: Sequence[CellJob], folder: Path) -> list[str]:
        import submitit

        needs, options = jobs[0].resources, self.options
        python = f"{shlex.quote(sys.executable)} -P"  # no file in the folder that it starts in is code
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=options.requeues, python=python)
        memory = needs.memory_bytes
        parameters = {
            "job_name": re.sub(r"[^\w.+-]", "-", jobs[0].folder.parent.name),
            "time": needs.minutes or DEFAULT_MINUTES,
            "cpus_per_task": needs.cpus,
            "gpus_per_node": needs.gpus or None,
            "mem": None if memory is None else f"{-(-memory // 2**20)}MB",
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "constraint": options.constraint,
            "signal_delay_s": options.warning,
            "array_parallelism": self.jobs or len(jobs),
            "setup": list(options.setup) or None,
            "use_srun": options.srun,
            "additional_parameters": {"requeue": True, **options.more},
        }
        executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
        try:
            with executor.batch():
                submitted = [executor.submit(_SlurmCell(job)) for job in jobs]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            raise OverfitLabError(f"slurm: sbatch refused the sweep ({' '.join(str(error).split())[-300:]})") from error
        return [job.job_id for job in submitted]


class _SlurmCell:
    """What a job of Slurm does; submitit pickles it, and asks for the next one when the job is told to stop."""

    def __init__(self, job: CellJob) -> None:
        self.job = job

    def __call__(self) -> None:
        failure = look_after(self.job)
        if failure is not None:
            raise OverfitLabError(f"cell {self.job.name} failed: {failure}")

    def checkpoint(self) -> Any:
        """Stop where it is, and go on in the job's next life."""
        from submitit.helpers import DelayedSubmission

        for process in multiprocessing.active_children():
            process.terminate()
        for process in multiprocessing.active_children():
            process.join(GRACE)
        return DelayedSubmission(self)


class _Waiting:
    """Cells in the queue or at work, and what their files say of them."""

    def __init__(self, jobs: Sequence[CellJob], watcher: Watcher) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._watcher = watcher
        self._started: set[str] = set()
        self._missed: dict[str, float] = {}

    def finish(self, stop: Any) -> dict[str, str]:
        """Wait for all; KeyboardInterrupt where they were told to stop, and their jobs are cancelled."""
        failures: dict[str, str] = {}
        left = dict(self._jobs)
        while left:
            if stop.wait(POLL):
                self._cancel(list(left.values()))
                raise KeyboardInterrupt
            queue = read_queue()
            for name, job in list(left.items()):
                ended, failure = self._look_at(job, queue)
                if ended:
                    del left[name]
                    self._start(name)
                    if failure is not None:
                        failures[name] = failure
                    self._watcher.ended(name, failure)
        return failures

    def _look_at(self, job: CellJob, queue: dict[str, str]) -> tuple[bool, str | None]:
        """Whether a cell has ended, and why it failed."""
        beat = read_beat(job.beat)
        if status_of(job.folder) == "completed":
            return True, None
        if beat is not None and beat.state == "failed":
            return True, beat.failure
        if beat is not None and beat.state == "running":
            self._start(job.name)
            self._watcher.progressed(job.name, beat.share, beat.text or f"on {beat.host}")
        number = _number(job)
        if number in queue:
            self._missed.pop(job.name, None)
            return False, None
        since = self._missed.setdefault(job.name, time.monotonic())
        if time.monotonic() - since < AWAY:
            return False, None
        return True, f"its Slurm job {number} ended without a word: cancelled, killed, or too often at its time limit"

    def _start(self, name: str) -> None:
        if name not in self._started:
            self._started.add(name)
            self._watcher.started(name)

    def _cancel(self, jobs: Sequence[CellJob]) -> None:
        """Cancel jobs, and wait until their cells have stopped."""
        numbers = [number for job in jobs if (number := _number(job))]
        if numbers:
            subprocess.run(["scancel", *numbers], capture_output=True, check=False)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(number in read_queue() for number in numbers):
            time.sleep(POLL / 4)


def read_queue() -> dict[str, str]:
    """The user's jobs in the queue or at work: state by number, an array's tasks each by itself.

    Raises:
        OverfitLabError: squeue does not answer.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i|%T"]
    for _ in range(5):  # a controller that is busy or being restarted answers a moment later
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            lines = [line.partition("|") for line in done.stdout.split()]
            return {number: state for number, _, state in lines}
        time.sleep(POLL)
    raise OverfitLabError(f"slurm: squeue does not answer ({' '.join(done.stderr.split())[:200]})")


def _numbers(folder: Path) -> Path:
    """Where the numbers of the cells' jobs are kept."""
    path = folder / "slurm" / "numbers"
    make_folder(path)
    return path


def _number(job: CellJob) -> str:
    """The number of a cell's last job; empty where it never had one, or where the file says no number.

    The folder may be somebody else's, and the number goes to ``scancel``, which takes options too.
    """
    path = job.folder.parent / "slurm" / "numbers" / job.folder.name
    text = read_bytes(path, NUMBER).decode(errors="replace").strip() if path.is_file() else ""
    return text if re.fullmatch(r"[0-9]+(_[0-9]+)?", text) else ""


REGISTER = {"slurm": SlurmBackend}
