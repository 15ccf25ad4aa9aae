"""The processes of one run, and what they tell each other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from overfit_lab.errors import LostProcessError, OverfitLabError
from overfit_lab.processes.exchange import exchanging
from overfit_lab.processes.norms import SynchronisedNorms
from overfit_lab.processes.share import Share, share_of

T_ = TypeVar("T_")
Outcome = tuple[T_ | None, OverfitLabError | None]
TIMEOUT = 600.0
"""Seconds after which a process that does not answer is given up."""


class World:
    """One of the processes of a run, which have joined a process group of torch; by default the only one.

    Everything that several processes do together is a method here, so that the training loop is written once. All
    processes have to call the same methods in the same order. Alone, nothing is exchanged.

    Args:
        rank: number of this process.
        size: of them all.
        synchronised: whether batch norm takes the statistics of the full batch; else of each process's rows, and its
            running statistics are averaged after every step.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, synchronised: bool = True) -> None:
        self.rank = rank
        self.size = size
        self.synchronised = synchronised

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, n: int, *, paired: bool = False) -> Share:
        """This process's part of a batch of n samples; see :func:`overfit_lab.processes.share.share_of`."""
        return share_of(n, self.rank, self.size, paired)

    def norms(self, share: Share) -> AbstractContextManager[object]:
        """Batch norm while processes work on different rows: synchronised where that is asked for."""
        return SynchronisedNorms() if self.synchronised and share.is_split else nullcontext()

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes. Cost: two copies of the tensors and one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.detach().reshape(-1).to(torch.float32) for t in tensors])
        with exchanging():
            dist.all_reduce(flat)
        start = 0
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
                start += tensor.numel()

    def norm_statistics(self, model: nn.Module) -> list[Tensor]:
        """Running statistics of batch norm over the number of processes, so that their sum is the mean.

        None where processes have the same ones, since batch norm is synchronised.
        """
        if self.synchronised:
            return []
        norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats)
        return [t.div_(self.size) for m in norms for t in (m.running_mean, m.running_var) if t is not None]

    def gather(self, rows: Tensor, share: Share) -> Tensor:
        """All rows of a batch, in their order, from those (b, ...) of each process. Cost: one exchange of the rows."""
        if not share.is_split:
            return rows
        padded = rows.new_zeros((-(-share.n // self.size), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with exchanging():
            dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[: share.n]

    def broadcast(self, value: T_, source: int = 0) -> T_:
        """The value of one process, a plain Python value, in all of them. Cost: one exchange."""
        if self.size == 1:
            return value
        box = [value]
        with exchanging():
            dist.broadcast_object_list(box, src=source, device=torch.device("cpu"))
        return box[0]

    def broadcast_tensors(self, tensors: Sequence[Tensor], source: int) -> None:
        """Overwrite tensors by those of one process. Cost: one exchange a tensor."""
        if self.size > 1:
            with exchanging():
                for tensor in tensors:
                    dist.broadcast(tensor, src=source)

    def run_on_rank(self, rank: int, function: Callable[[], T_]) -> T_:
        """What a function returns in one process, in all of them; an error that is the input's fault too.

        Cost: one exchange after it has run.
        """
        return self._result(_outcome(function) if self.rank == rank else None, rank)

    def run_rank_0_first(self, function: Callable[[], T_]) -> T_:
        """Each process runs it after the first one has: what that puts on disk is there for the others.

        Cost: one exchange, and the time of two.
        """
        results: list[T_] = []
        self.run_on_rank(0, lambda: results.append(function()))
        return results[0] if results else function()

    def distribute(self, tasks: Sequence[Callable[[], T_]]) -> Iterator[T_]:
        """The results of independent tasks in order, in all processes; every ``size``-th task is run by this one.

        An error that is the input's fault is raised in all processes.

        Cost: that of the dearest process's tasks, and one exchange a task.
        """
        if self.size == 1:  # each when it is asked for
            yield from (task() for task in tasks)
            return
        outcomes = {i: _outcome(tasks[i]) for i in range(self.rank, len(tasks), self.size)}
        for i in range(len(tasks)):
            yield self._result(outcomes.get(i), i % self.size)

    def _result(self, outcome: Outcome[T_] | None, rank: int) -> T_:
        value, refusal = self.broadcast(outcome, rank)  # type: ignore[misc]
        if refusal is not None:
            raise refusal
        return value  # type: ignore[return-value]


ALONE = World()


def _outcome(function: Callable[[], T_]) -> Outcome[T_]:
    """What a function returns, or the error where the input is at fault."""
    try:
        return function(), None
    except OverfitLabError as error:
        return None, error


@contextmanager
def joined(
    rank: int, size: int, *, store: Any = None, timeout: float = TIMEOUT, synchronised: bool = True
) -> Iterator[World]:
    """Join the other processes of a run.

    Args:
        rank: number of this process.
        size: of them all; 1 joins nobody.
        store: where the processes meet; None: at MASTER_ADDR and MASTER_PORT, as torchrun sets them.
        timeout: seconds after which a process that does not answer is given up, also at the beginning.
        synchronised: see :class:`World`.

    Raises:
        LostProcessError: the others did not come.
    """
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, rank=rank, world_size=size, store=store, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise LostProcessError(f"process {rank} of {size} could not join the others: {text}") from error
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        yield World(rank, size, synchronised=synchronised)
        dist.destroy_process_group()
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)  # a failed exchange has it ignored until all is put in order
