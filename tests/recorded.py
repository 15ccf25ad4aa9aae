"""A capture for the CPU that is as blind as a CUDA graph: it repeats operations on the memory of the capture."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from overfit_lab.models.compute.graphs import WARM_UPS, Captured


class Waits(RuntimeError):
    """Work that is captured asked for a number."""


class _Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise Waits("operation not permitted when stream is capturing\nand more that nobody wants to read")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


def recorded(work):
    """Work that was warmed up, and then recorded operation by operation; Python has no say in a replay."""
    for _ in range(WARM_UPS):
        work()
    recording = _Recording()
    with recording:
        outputs = work()

    @torch.no_grad()
    def replay():
        for func, args, kwargs, result in recording.calls:
            known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() not in known:
                    old.copy_(new)

    for output in outputs:  # a graph computes nothing while it is captured
        output.detach().zero_()
    return Captured(replay, outputs)
