"""Contexts for measurements that leave a model as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint

from overfit_lab.models.holdings import Holdings
from overfit_lab.seeds import get_streams, set_streams


@contextmanager
def isolated(model: nn.Module) -> Iterator[None]:
    """The model in eval mode without gradients filled; everything is as before on leaving, also when it raises.

    Restored: everything that the model holds (:class:`overfit_lab.models.holdings.Holdings`), and the global random
    streams of Python, numpy and torch (CPU and the model's device). Compiled code runs eagerly inside, attention in its
    plain form, and reentrant checkpoints keep activations, so that forward-mode products, second derivatives and hooks
    work. Hooks on gradients are silent: derivatives are those of the network's function, and nobody counts or clips
    those of a measurement.

    Cost: a copy of the parameters and buffers; no forward pass.
    """
    held = Holdings(model)
    streams = get_streams()
    try:
        for leaf in held.leaves:
            leaf.grad = None
        model.eval()
        with _eager(), plain_attention(), nothing_recomputed(), _silent_gradients(model):
            yield
    finally:
        held.restore()
        set_streams(streams)


@contextmanager
def _silent_gradients(model: nn.Module) -> Iterator[None]:
    """Without hooks on gradients of the parameters and of modules' outputs."""
    of_modules: list[Any] = [hooks for m in model.modules() for hooks in (m._backward_hooks, m._backward_pre_hooks)]
    held = [(hooks, dict(hooks)) for hooks in [*(p._backward_hooks for p in model.parameters()), *of_modules] if hooks]
    try:
        for hooks, _ in held:
            hooks.clear()
        yield
    finally:
        for hooks, content in held:
            hooks.clear()
            hooks.update(content)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by matrix products inside: fused kernels have neither forward mode nor second derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def nothing_recomputed() -> Iterator[None]:
    """Reentrant checkpoints keep their activations inside: through such as recompute, single gradients cannot go."""
    before = vars(checkpoint)["CheckpointFunction"]
    try:
        vars(checkpoint)["CheckpointFunction"] = _Kept
        yield
    finally:
        vars(checkpoint)["CheckpointFunction"] = before


class _Kept:
    """In the place of the function that recomputes."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        """What the function gives of its arguments."""
        return function(*args)


def frozen(model: nn.Module) -> AbstractContextManager[None]:
    """Parameters need no gradient inside, so that a backward pass computes the input's gradient alone."""
    return requiring(model.parameters(), False)


@contextmanager
def requiring(tensors: Iterable[Tensor], needed: bool = True) -> Iterator[None]:
    """Tensors require a gradient inside, or none; those that were otherwise are so again on leaving."""
    others = [tensor for tensor in tensors if tensor.requires_grad != needed]
    try:
        for tensor in others:
            tensor.requires_grad_(needed)
        yield
    finally:
        for tensor in others:
            tensor.requires_grad_(not needed)


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in train or eval mode inside; each module's own mode is restored on leaving."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, was in modes:
            module.training = was


@contextmanager
def unmoved_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norm in train mode uses the batch's statistics inside, but its running statistics do not move.

    What other modules move in train mode, such as the vectors of spectral norm, is put back on leaving.

    Cost: a copy of the buffers of modules in train mode other than batch norm; no synchronisation with the device.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    others = [m for m in model.modules() if m.training and not isinstance(m, nn.modules.batchnorm._BatchNorm)]
    buffers = [(m, name, b) for m in others for name, b in m._buffers.items() if b is not None and not b.is_inference()]
    held = [(m, name, b, b._version, b.detach().clone()) for m, name, b in buffers]
    try:
        # In train mode torch then has no buffers to update; in eval mode it uses the running ones all the same.
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        with torch.no_grad():
            for module, name, buffer, version, value in held:
                module._buffers[name] = buffer
                # One that nobody wrote to is not written to either, so that graphs which saved it stand.
                if buffer._version != version:
                    buffer.copy_(value)


def _eager() -> AbstractContextManager[object]:
    """A context that runs compiled code eagerly; loads no compiler where none is loaded."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
