"""Adapts a user's network for the time of a measurement to what probes need: images in [0, 1] to logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.errors import ProbeError
from overfit_lab.models.holdings import substituted
from overfit_lab.models.isolation import isolated
from overfit_lab.models.normalize import InFront, Normalize


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself of one that is compiled, or wrapped for several devices; the parameters are the same."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@dataclass(frozen=True)
class Adapter:
    """How a network is called for its logits.

    Hooks rather than a wrapper, so that names of parameters and layers stay the user's; they exist within
    :meth:`applied` only. Images come in the type of the network's weights. Weights of half precision are computed with
    in float32 there, so that second derivatives have digits: numbers are those of the float32 network with these
    weights.

    Args:
        normalize: applied to the images first; None where the network or nothing does it.
        keyword: name of the argument that takes the images; None for the first.
        output: attribute or key of what the network returns that holds the logits; None where it returns them.
        dtype: type that images come in; None: that of the weights, as they are computed with.
    """

    normalize: Normalize | None = None
    keyword: str | None = None
    output: str | None = None
    dtype: torch.dtype | None = None

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The network maps images in [0, 1] to logits inside, whatever mode or mixed precision the loop is in."""
        device = next(model.parameters()).device.type
        with ExitStack() as hooks:
            hooks.enter_context(torch.inference_mode(False))
            hooks.enter_context(torch.autocast(device, enabled=False))
            hooks.enter_context(in_float32(model))
            dtype = self.dtype or weight_dtype(model)
            if dtype not in (None, torch.float32):
                hooks.enter_context(_handle(model.register_forward_pre_hook(InFront(_cast_to(dtype)))))
            if self.normalize is not None:
                hooks.enter_context(_handle(model.register_forward_pre_hook(InFront(self.normalize))))
            if self.keyword is not None:
                hooks.enter_context(_handle(model.register_forward_pre_hook(self._by_keyword, with_kwargs=True)))
            if self.output is not None:
                hooks.enter_context(_handle(model.register_forward_hook(self._logits)))
            yield

    def _by_keyword(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[1:], {**kwargs, str(self.keyword): args[0]}

    def _logits(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, Mapping):
            return output.get(self.output, output)
        return getattr(output, str(self.output), output)


class Cast(nn.Module):
    """Gives images another type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """The images in that type, in the same shape."""
        return x.to(self.dtype)


@cache
def _cast_to(dtype: torch.dtype) -> Cast:
    """One for all, so that a network is recognised when the hook comes again."""
    return Cast(dtype)


def weight_dtype(model: nn.Module) -> torch.dtype | None:
    """The type of the first weights that are real numbers; None where there are none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), None)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Inside, weights and buffers of half precision are computed with in float32 copies.

    Cost: such a copy.
    """
    half = (torch.bfloat16, torch.float16)
    copies: dict[int, Tensor] = {}
    for parameter in model.parameters():
        if parameter.dtype in half:
            copies[id(parameter)] = nn.Parameter(parameter.detach().float(), parameter.requires_grad)
    copies |= {id(buffer): buffer.float() for buffer in model.buffers() if buffer.dtype in half}
    if not copies:
        yield
        return
    with substituted(model, copies):
        yield


@contextmanager
def _handle(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def count_logits(model: nn.Module, image: Tensor) -> int:
    """Number of logits K of a network, from one image. Cost: one forward pass.

    Args:
        model: the network; nothing of it changes.
        image: float in [0, 1] (1, C, H, W) on the network's device.

    Raises:
        ProbeError: it cannot be called with images alone, or gives something else than logits (1, K).
    """
    name = type(model).__name__
    try:
        with isolated(model):
            logits = model(image)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        shape = tuple(image.shape)
        raise ProbeError(f"{name}: cannot be called with images of shape {shape} for logits ({reason})") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
        actual = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ProbeError(f"{name}: gives {actual} for one image; expected logits of shape (1, number of classes)")
    return int(logits.shape[1])
