"""Convolutions in one and two dimensions, of any stride, padding, dilation and number of groups."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.probes.metrics.layer_kinds.base import CallCache, LayerKind
from overfit_lab.probes.metrics.layer_kinds.products import gram_is_cheaper, outer_squared_norm
from overfit_lab.probes.metrics.local import LayerCall


class ConvolutionKind(LayerKind):
    """A linear layer on patches: g = sum_l delta_l u_l^T, u_l the patch of the input under output position l."""

    def handles(self, call: LayerCall) -> bool:
        """Inputs with a sample dimension."""
        return call.input.dim() == 2 + len(call.module.kernel_size)  # type: ignore[arg-type]

    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """One convolution with the direction in the weight's place."""
        module, bias = call.module, direction.get("bias")
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        if "weight" in direction:
            return (delta * module._conv_forward(call.input, direction["weight"], bias)).flatten(1).sum(dim=1)
        return delta.new_zeros(len(delta)) if bias is None else delta.flatten(2).sum(dim=2) @ bias

    def squared_norm(self, call: LayerCall, delta: Tensor, cache: CallCache) -> dict[str, Tensor]:
        """Of the patches' outer products; patches are kept between deltas where that saves work."""
        module = call.module
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        rows, groups = len(delta), module.groups
        flat = delta.flatten(2)
        norms = {}
        if "weight" in call.parameters:
            d = flat.reshape(rows * groups, -1, flat.shape[2])
            size = module.weight[0].numel()
            by_gram = gram_is_cheaper(size, d.shape[1], d.shape[2], cache.times)
            if not by_gram and can_shift(module):
                norms["weight"] = by_shifts(module, call.input, delta, cache)
                return norms | self._of_bias(call, flat)
            if by_gram and "gram" in cache.store:
                u = d.new_empty(1).expand(len(d), size, d.shape[2])  # its Gram matrix is at hand
            else:
                u = self._patches(call, cache, keep=cache.times > 1 and not by_gram)
                u = u.reshape(rows * groups, -1, u.shape[2])
            norms["weight"] = outer_squared_norm(u, d, cache).view(rows, groups).sum(dim=1)
        return norms | self._of_bias(call, flat)

    def _of_bias(self, call: LayerCall, flat: Tensor) -> dict[str, Tensor]:
        return {"bias": flat.sum(dim=2).square().sum(dim=1)} if "bias" in call.parameters else {}

    def _patches(self, call: LayerCall, cache: CallCache, *, keep: bool) -> Tensor:
        if "patches" in cache.store:
            return cache.store["patches"]
        u = patches(call.module, call.input)
        if keep:
            cache.store["patches"] = u
        return u


def can_shift(module: nn.Module) -> bool:
    """Whether :func:`by_shifts` holds for a convolution."""
    return isinstance(module, nn.Conv2d) and module.stride == (1, 1) and module.groups == 1


def by_shifts(module: nn.Module, a: Tensor, delta: Tensor, cache: CallCache) -> Tensor:
    """The squared norm of each sample's weight gradient (B,) without a copy of the patches, for stride 1.

    Under a kernel's entry (y, x) lies the padded input, moved by y rows and x columns. With the padded width for both,
    and zeros in delta where the output has no column, the move is an offset in memory: the entry's gradient is one
    matrix product of contiguous pieces. The input is (B, I, H, W), the derivative at the output (B, O, H', W'); the
    cache holds the padded input between deltas.
    """
    assert isinstance(module, nn.Conv2d)
    height = delta.shape[2]
    width = delta.shape[3] + module.dilation[1] * (module.kernel_size[1] - 1)
    rows = height * width
    offsets = [
        y * module.dilation[0] * width + x * module.dilation[1]
        for y in range(module.kernel_size[0])
        for x in range(module.kernel_size[1])
    ]
    if "flat" not in cache.store:
        cache.store["flat"] = _in_rows(_padded(module, a), rows + offsets[-1])
    flat = cache.store["flat"]
    wide = functional.pad(delta.permute(0, 2, 3, 1), (0, 0, 0, width - delta.shape[3]))
    left = wide.reshape(len(a), rows, -1).transpose(1, 2)
    return torch.stack([(left @ flat[:, o : o + rows]).square().sum(dim=(1, 2)) for o in offsets]).sum(dim=0)


def _in_rows(image: Tensor, least: int) -> Tensor:
    """Pixels one after the other with their channels (B, rows, C), zeros after them up to so many rows."""
    pixels = image.permute(0, 2, 3, 1).reshape(len(image), -1, image.shape[1])
    return functional.pad(pixels, (0, 0, 0, max(0, least - pixels.shape[1])))


def _padded(module: nn.Module, a: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if any(module._reversed_padding_repeated_twice):
        return functional.pad(a, module._reversed_padding_repeated_twice, mode=mode)
    return a


def patches(module: nn.Module, a: Tensor) -> Tensor:
    """The patch of the input under each output position (B, C_in k, L), in the order of the weight's entries.

    One copy out of a strided view, whose rows are contiguous; several times as fast as torch's ``unfold`` on a CPU.
    """
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    a = _padded(module, a).contiguous()
    out = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(a.shape[2:], kernel, stride, dilation, strict=True)]
    steps = a.stride()[2:]
    view = a.as_strided(
        (*a.shape[:2], *kernel, *out),
        (
            *a.stride()[:2],
            *(d * t for d, t in zip(dilation, steps, strict=True)),
            *(s * t for s, t in zip(stride, steps, strict=True)),
        ),
    )
    return view.reshape(len(a), -1, math.prod(out))


REGISTER: dict[type[nn.Module], LayerKind] = {nn.Conv1d: ConvolutionKind(), nn.Conv2d: ConvolutionKind()}
