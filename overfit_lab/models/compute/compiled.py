"""Compiled code for training, and the way back where there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from overfit_lab.models.compute.agreement import agree
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.folding import FoldedModel
from overfit_lab.seeds import private_streams

Context = Callable[[], AbstractContextManager[object]]


def compile_attack(model: nn.Module, x: Tensor, autocast: Context) -> str | None:
    """Have attacks in eval mode on batches of this size run compiled, and try it.

    Args:
        model: whose folded network is compiled.
        x: a batch of images of the size that training has (B, C, H, W).

    Returns:
        None where it works; else why not, in one line, and all is as before.

    Cost: seconds to compile, and two forward and backward passes over the batch.
    """
    with autocast():
        twin = folded(model, x)
    if twin is None:
        return "the network has no folded form"
    twin.compile(len(x))
    reason = _attempt(lambda: _same(twin, x, autocast))
    if reason is not None:
        twin.plain()
    return reason


def _same(twin: FoldedModel, x: Tensor, autocast: Context) -> None:
    with autocast():
        if not agree(twin.network, twin, x):
            raise RuntimeError("compiled code gives other numbers")


def compile_model(model: nn.Module, x: Tensor, autocast: Context) -> str | None:
    """Compile the model in place, and try a forward and backward pass in train mode.

    Args:
        model: left with the weights, statistics and gradients that it had.
        x: a batch of images of the size that training has (B, C, H, W).

    Returns:
        None where it works; else why not, in one line, and the model is as before.

    Cost: tens of seconds to compile.
    """
    model.compile()
    reason = _attempt(lambda: _pass(model, x, autocast))
    if reason is not None:
        for module in model.modules():
            module._compiled_call_impl = None
    return reason


def _pass(model: nn.Module, x: Tensor, autocast: Context) -> None:
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        with private_streams(0), autocast():
            model.train()
            loss = model(x).float().square().mean()
            torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _attempt(trial: Callable[[], None]) -> str | None:
    """Why a trial failed, in one line; None where it did not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial()
    except Exception as error:
        torch.compiler.reset()
        return reason_of(error)
    return None


def reason_of(error: Exception) -> str:
    """Why work was not compiled or captured: the error's kind and its first line, 200 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
