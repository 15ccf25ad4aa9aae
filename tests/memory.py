"""How many bytes of tensors a computation holds at most: the same in every run, unlike a process's memory."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the storages that operations inside make, while they live; ``peak`` is the most at any time.

    Tensors from before are not counted, nor what an operation allocates and frees within itself.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.living = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            if isinstance(t, torch.Tensor) and t.untyped_storage()._cdata not in known:
                self._born(t.untyped_storage())
        return result

    def _born(self, storage):
        key = storage._cdata
        if key in self.living:
            return
        size = storage.nbytes()
        self.living[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._dead, key)

    def _dead(self, key):
        self.now -= self.living.pop(key, 0)


def peak_bytes(compute):
    """Runs it; the most bytes of new tensors that were alive at once."""
    with PeakBytes() as count:
        compute()
    return count.peak
