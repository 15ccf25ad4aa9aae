"""How many bytes of tensors a computation holds at most: the same in every run, unlike a process's memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class PeakBytes(TorchDispatchMode):
    """Counts the storages that operations inside make, while they live; ``peak`` is the most bytes at any time.

    Tensors from before are not counted, nor what an operation allocates and frees within itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._living: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        known = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for t in _tensors(result):
            if t.untyped_storage()._cdata not in known:
                self._born(t.untyped_storage())
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._living:
            return
        self._living[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._dead, key)

    def _dead(self, key: int) -> None:
        self.now -= self._living.pop(key, 0)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Those that an operation takes or gives: they lie in lists, tuples and, by name, in one dict."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
