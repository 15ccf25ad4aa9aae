"""Contexts for measurements that leave a model as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from overfit_lab.seeds import get_streams, set_streams


@contextmanager
def isolated(model: nn.Module) -> Iterator[None]:
    """The model in eval mode without gradients filled; everything is as before on leaving, also when it raises.

    Restored: the mode of every module, every parameter's ``requires_grad`` and ``grad``, every buffer (batch-norm
    statistics among them), and the global random streams of Python, numpy and torch (CPU and the model's device).
    Compiled code runs eagerly inside, so that forward-mode products and hooks work.

    Cost: a copy of the buffers; no forward pass.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    streams = get_streams()
    try:
        for parameter, _, _ in parameters:
            parameter.grad = None
        model.eval()
        with _eager():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        set_streams(streams)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Parameters need no gradient inside, so that a backward pass computes the input's gradient alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


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
    """Batch norm in train mode uses the batch's statistics inside, but its running statistics do not move."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    try:
        # In train mode torch then has no buffers to update; in eval mode it uses the running ones all the same.
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _eager() -> AbstractContextManager[object]:
    """A context that runs compiled code eagerly; loads no compiler where none is loaded."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
