"""Which rows of a batch a process takes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from torch import Tensor

from overfit_lab.types import Batch, Targets

R_ = TypeVar("R_", Batch, Targets)


@dataclass(frozen=True)
class Share:
    """The part that one of several processes has in a batch.

    Args:
        n: samples of the full batch.
        first: the first row that this process takes.
        every: the distance to the next one; 1: the process takes all rows, as each does.
        weight: by which its mean loss enters that of the full batch; the weights of all processes sum to 1.
    """

    n: int
    first: int = 0
    every: int = 1
    weight: float = 1.0

    @property
    def is_split(self) -> bool:
        """Whether the processes take different rows."""
        return self.every > 1

    @property
    def rows(self) -> slice:
        """The rows that this process takes."""
        return slice(self.first, None, self.every) if self.is_split else slice(None)

    @property
    def size(self) -> int:
        """Samples that this process takes."""
        return len(range(self.n)[self.rows])

    def take(self, full: R_) -> R_:
        """This process's rows of the full batch or of its targets."""
        if not self.is_split:
            return full
        values: dict[str, Any] = {field.name: getattr(full, field.name) for field in fields(full)}
        rows: Any = {name: v[self.rows] for name, v in values.items() if isinstance(v, Tensor)}
        return replace(full, **rows)

    def weighted(self, loss: Tensor) -> Tensor:
        """A mean over this process's rows as its part of the mean over the full batch."""
        return loss if self.weight == 1.0 else loss * self.weight


def share_of(n: int, rank: int, size: int, paired: bool = False) -> Share:
    """Every ``size``-th row from ``rank`` on; all of them where there is not a pair of rows for each process.

    Rows far apart go to one process, so that a loss on pairs of the two halves of a batch finds its pairs there. A
    small last batch is worked on by every process as a whole, since batch norm needs two samples.

    Args:
        n: samples of the batch.
        rank: number of the process.
        size: processes.
        paired: the loss is on pairs: where these cannot be dealt out evenly, every process takes the full batch.
    """
    if size == 1:
        return Share(n)
    if n < 2 * size or (paired and n % (2 * size)):
        return Share(n, weight=1 / size)
    return Share(n, rank, size, len(range(rank, n, size)) / n)
