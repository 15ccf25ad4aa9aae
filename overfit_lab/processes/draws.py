"""Random numbers for the images of a batch, of which this process may hold only some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class RowGenerator(torch.Generator):
    """A random stream for some rows of a batch: what is drawn by :func:`draw` is what those rows would get in whole.

    Set by :func:`for_rows`. Code that takes it for a plain generator draws numbers that are no others' rows, but the
    same in every process.

    Args:
        device: of the numbers.
    """

    rows: slice
    n: int


def for_rows(generator: torch.Generator, rows: slice, n: int) -> torch.Generator:
    """A stream at the same place whose draws are for ``rows`` of a batch of ``n`` samples."""
    own = RowGenerator(device=generator.device)
    own.set_state(generator.get_state())
    own.rows, own.n = rows, n
    return own


def draw(
    function: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator, *, dtype: torch.dtype
) -> Tensor:
    """Random numbers, one set of them a sample.

    Args:
        function: ``torch.rand`` or ``torch.randn``.
        shape: (B, ...), B the samples that this process holds.
        generator: the stream, on the device that the numbers are wanted on.
        dtype: of the numbers.

    Cost: of a stream for rows, numbers for the whole batch are drawn.
    """
    if not isinstance(generator, RowGenerator):
        return function(tuple(shape), generator=generator, device=generator.device, dtype=dtype)
    whole = function((generator.n, *shape[1:]), generator=generator, device=generator.device, dtype=dtype)
    return whole[generator.rows]
