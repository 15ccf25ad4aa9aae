"""Work that is captured once and replayed, so that a device is told of all its operations at once.

Of an attack on small images, launching operations takes longer than most of them do. A CUDA graph launches a thousand
of them together. What is replayed is the very sequence of operations of the capture, on the very memory: what Python
decided then stays decided, and inputs have to be put where they lay.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before a capture: libraries choose their algorithms and compiled code is made in them."""
MOST = 2
"""Captures that are held, for batches of the full size and for an epoch's smaller last one."""

Body = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Work on input tensors; asked more than once, it begins anew each time."""


@dataclass(frozen=True)
class Captured:
    """Work that can be done again: ``replay`` fills ``outputs`` anew from what its inputs hold then."""

    replay: Callable[[], None]
    outputs: tuple[Tensor, ...]


class Capture(Protocol):
    """Captures work on tensors that stay where they are."""

    def __call__(self, work: Callable[[], tuple[Tensor, ...]], /) -> Captured:
        """The work, ready to be replayed.

        Raises:
            Exception: it does what cannot be captured, such as waiting for the device.
        """
        ...


def cuda_capture(work: Callable[[], tuple[Tensor, ...]]) -> Captured:
    """Capture work as a CUDA graph, after it was done a few times on a stream of its own.

    Raises:
        RuntimeError: the work waits for the device, or does something else that a graph cannot hold.

    Cost: the work some times over, and the memory that it takes, which is kept.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside), _weights_cast_anew():
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), _weights_cast_anew():
        outputs = work()
    return Captured(graph.replay, outputs)


@contextmanager
def _weights_cast_anew() -> Iterator[None]:
    """Autocast casts each weight where it is used: a copy that was kept from before would be replayed for ever."""
    before = torch.is_autocast_cache_enabled()
    try:
        torch.set_autocast_cache_enabled(False)
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@dataclass(frozen=True)
class _Held:
    inputs: tuple[Tensor, ...]
    captured: Captured


class Graphs:
    """Captures of one kind of work, by all that it depends on besides the numbers in its inputs.

    Args:
        capture: captures on this kind of device.
    """

    def __init__(self, capture: Capture = cuda_capture) -> None:
        self.capture = capture
        self.n_captures = 0
        self._held: dict[Hashable, _Held] = {}

    def run(self, key: Hashable, inputs: Sequence[Tensor], body: Body) -> tuple[Tensor, ...]:
        """What the body makes of the inputs: captured the first time, replayed with the same key and forms of inputs.

        Args:
            key: what else the body depends on, networks among it. Weights may change where they lie: they are read at
                every replay.
            inputs: copied to where the capture reads them.
            body: makes new tensors of its inputs, and changes none.

        Returns:
            The outputs, copies that stay.

        Raises:
            Exception: the body cannot be captured; see :data:`Capture`.
        """
        whole = (key, tuple((t.shape, t.stride(), t.dtype, t.device) for t in inputs))
        held = self._held.pop(whole, None)
        if held is None:
            held = self._make(inputs, body)
        else:
            for place, tensor in zip(held.inputs, inputs, strict=True):
                place.copy_(tensor)
        self._held[whole] = held  # the latest used comes last
        held.captured.replay()
        return tuple(output.clone() for output in held.captured.outputs)

    def _make(self, inputs: Sequence[Tensor], body: Body) -> _Held:
        while len(self._held) >= MOST:
            del self._held[next(iter(self._held))]
        places = tuple(t.detach().clone() for t in inputs)
        self.n_captures += 1
        return _Held(places, self.capture(lambda: body(places)))
