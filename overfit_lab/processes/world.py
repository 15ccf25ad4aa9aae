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
TIMEOUT = 600.0
"""Seconds after which a process that does not answer is given up."""


class World:
    """A run in this process alone; :class:`Group` is one of several processes.

    Everything that several processes do together is a method here, so that the training loop is written once. All
    processes have to call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, n: int, *, paired: bool = False) -> Share:
        """This process's part of a batch of n samples; see :func:`overfit_lab.processes.share.share_of`."""
        return share_of(n, self.rank, self.size, paired)

    def norms(self, share: Share) -> AbstractContextManager[object]:
        """Batch norm as the run wants it while processes work on their shares of a batch."""
        return nullcontext()

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes; one exchange for all of them."""

    def average_statistics(self, model: nn.Module) -> list[Tensor]:
        """The batch-norm statistics that differ between processes and are to be averaged with the gradients."""
        return []

    def whole(self, rows: Tensor, share: Share) -> Tensor:
        """All rows of a batch, in their order, from those (b, ...) of each process."""
        return rows

    def given(self, value: T_, source: int = 0) -> T_:
        """The value that one process has, in all of them; a plain Python value."""
        return value

    def given_tensors(self, tensors: Sequence[Tensor], source: int) -> None:
        """Overwrite tensors by those of one process."""

    def at(self, source: int, make: Callable[[], T_]) -> T_:
        """What one process makes, in all of them. An error that is the input's fault is raised in all of them too."""
        return make()

    def in_turn(self, make: Callable[[], T_]) -> T_:
        """Each process makes it, the first one before the others: what it puts on disk is there for them."""
        return make()

    def shared_out(self, tasks: Sequence[Callable[[], T_]]) -> Iterator[T_]:
        """The results of independent tasks in order, each done by one process, in all of them."""
        for task in tasks:
            yield task()


ALONE = World()


class Group(World):
    """One of several processes that have joined a process group of torch.

    Args:
        rank: number of this process.
        size: of them all.
        synchronised: whether batch norm takes the statistics of the whole batch; else of each process's rows, and its
            running statistics are averaged after every step.
    """

    def __init__(self, rank: int, size: int, *, synchronised: bool = True) -> None:
        self.rank = rank
        self.size = size
        self.synchronised = synchronised

    def norms(self, share: Share) -> AbstractContextManager[object]:
        """Synchronised where that is asked for and processes hold different rows."""
        return SynchronisedNorms() if self.synchronised and share.is_split else nullcontext()

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Cost: two copies of the tensors and one exchange."""
        if not tensors:
            return
        flat = torch.cat([t.detach().reshape(-1).to(torch.float32) for t in tensors])
        with exchanging():
            dist.all_reduce(flat)
        start = 0
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
                start += tensor.numel()

    def average_statistics(self, model: nn.Module) -> list[Tensor]:
        """Divided by the number of processes, so that their sum is the mean; none where batch norm is synchronised."""
        if self.synchronised:
            return []
        found = []
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                found += [t.div_(self.size) for t in (module.running_mean, module.running_var) if t is not None]
        return found

    def whole(self, rows: Tensor, share: Share) -> Tensor:
        """Cost: one exchange of the rows."""
        if not share.is_split:
            return rows
        most = -(-share.n // self.size)
        own = rows.new_zeros((most, *rows.shape[1:]))
        own[: len(rows)] = rows
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with exchanging():
            dist.all_gather(parts, own)
        return torch.stack(parts, dim=1).flatten(0, 1)[: share.n]

    def given(self, value: T_, source: int = 0) -> T_:
        """Cost: one exchange."""
        box = [value]
        with exchanging():
            dist.broadcast_object_list(box, src=source, device=torch.device("cpu"))
        return box[0]

    def given_tensors(self, tensors: Sequence[Tensor], source: int) -> None:
        """Cost: one exchange a tensor."""
        with exchanging():
            for tensor in tensors:
                dist.broadcast(tensor, src=source)

    def at(self, source: int, make: Callable[[], T_]) -> T_:
        """Cost: one exchange after it is made."""
        result: tuple[T_ | None, OverfitLabError | None] = (None, None)
        if self.rank == source:
            try:
                result = (make(), None)
            except OverfitLabError as error:
                result = (None, error)
        made, refusal = self.given(result, source)
        if refusal is not None:
            raise refusal
        return made  # type: ignore[return-value]

    def in_turn(self, make: Callable[[], T_]) -> T_:
        """Cost: one exchange, and the time of two."""
        own: list[T_] = []
        self.at(0, lambda: own.append(make()))
        return own[0] if own else make()

    def shared_out(self, tasks: Sequence[Callable[[], T_]]) -> Iterator[T_]:
        """Every ``size``-th task is this process's; an error that is the input's fault is raised in all processes.

        Cost: that of the dearest process's tasks, and one exchange a task.
        """
        made: dict[int, tuple[T_ | None, OverfitLabError | None]] = {}
        for i in range(self.rank, len(tasks), self.size):
            try:
                made[i] = (tasks[i](), None)
            except OverfitLabError as error:
                made[i] = (None, error)
        for i in range(len(tasks)):
            result, refusal = self.given(made.get(i, (None, None)), i % self.size)
            if refusal is not None:
                raise refusal
            yield result  # type: ignore[misc]


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
        synchronised: see :class:`Group`.

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
        yield Group(rank, size, synchronised=synchronised)
        dist.destroy_process_group()
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)  # a failed exchange has it ignored until all is put in order
