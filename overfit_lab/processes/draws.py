"""Random numbers for the images of a batch, of which this process may hold only some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class RowGenerator(torch.Generator):
    """A random stream for some rows of a batch: :func:`draw` gives them what they get in a draw of the full batch.

    Made by :func:`for_rows`. Code that takes it for a plain generator draws the same numbers in every process.

    Args:
        device: of the numbers.
    """

    rows: slice
    n: int


def for_rows(generator: torch.Generator, rows: slice, n: int) -> torch.Generator:
    """A stream at the same place whose draws are for ``rows`` of a batch of ``n`` samples."""
    stream = RowGenerator(device=generator.device)
    stream.set_state(generator.get_state())
    stream.rows, stream.n = rows, n
    return stream


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
    full_batch = function((generator.n, *shape[1:]), generator=generator, device=generator.device, dtype=dtype)
    return full_batch[generator.rows]
