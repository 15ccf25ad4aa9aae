"""Convolutions in one and two dimensions, of any stride, padding, dilation and number of groups."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.metrics.layer_kinds.base import Kept, LayerKind
from overfit_lab.metrics.layer_kinds.products import gram_is_cheaper, outer_squared_norm
from overfit_lab.metrics.local import LayerCall


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
            moved = module._conv_forward(call.input, direction["weight"], bias)
            return (delta * moved).flatten(1).sum(dim=1)
        return delta.new_zeros(len(delta)) if bias is None else delta.flatten(2).sum(dim=2) @ bias

    def squared_norm(self, call: LayerCall, delta: Tensor, kept: Kept) -> dict[str, Tensor]:
        """Of the patches' outer products; patches are kept between deltas where that saves work."""
        module = call.module
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        rows, groups = len(delta), module.groups
        flat = delta.flatten(2)
        found = {}
        if "weight" in call.parameters:
            d = flat.reshape(rows * groups, -1, flat.shape[2])
            size = module.weight[0].numel()
            by_gram = gram_is_cheaper(size, d.shape[1], d.shape[2], kept.times)
            if by_gram and "gram" in kept.store:
                u = d.new_empty(1).expand(len(d), size, d.shape[2])  # its Gram matrix is at hand
            else:
                u = self._patches(call, kept, keep=kept.times > 1 and not by_gram)
                u = u.reshape(rows * groups, -1, u.shape[2])
            found["weight"] = outer_squared_norm(u, d, kept).view(rows, groups).sum(dim=1)
        if "bias" in call.parameters:
            found["bias"] = flat.sum(dim=2).square().sum(dim=1)
        return found

    def _patches(self, call: LayerCall, kept: Kept, *, keep: bool) -> Tensor:
        if "patches" in kept.store:
            return kept.store["patches"]
        u = patches(call.module, call.input)
        if keep:
            kept.store["patches"] = u
        return u


def patches(module: nn.Module, a: Tensor) -> Tensor:
    """The patch of the input under each output position (B, C_in k, L), in the order of the weight's entries.

    One copy out of a strided view, whose rows are contiguous; several times as fast as torch's ``unfold`` on a CPU.
    """
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if any(module._reversed_padding_repeated_twice):
        a = functional.pad(a, module._reversed_padding_repeated_twice, mode=mode)
    a = a.contiguous()
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
