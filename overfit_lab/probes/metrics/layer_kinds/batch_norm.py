"""Batch norm in eval mode, an affine map of each channel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from overfit_lab.probes.metrics.layer_kinds.base import CallCache, LayerKind
from overfit_lab.probes.metrics.local import LayerCall


class BatchNormKind(LayerKind):
    """y = w (a - mean) / sqrt(var + eps) + b with running statistics."""

    def handles(self, call: LayerCall) -> bool:
        """Running statistics are used."""
        return not call.module.training and call.module.running_mean is not None

    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """<g_i, d> from the channels' sums."""
        total = delta.new_zeros(len(delta))
        if "weight" in direction:
            total = total + _over_channels(delta * _normalised(call)) @ direction["weight"]
        if "bias" in direction:
            total = total + _over_channels(delta) @ direction["bias"]
        return total

    def squared_norm(self, call: LayerCall, delta: Tensor, cache: CallCache) -> dict[str, Tensor]:
        """From the channels' sums."""
        norms = {}
        if "weight" in call.parameters:
            a = cache.store.get("normalised")
            if a is None:
                a = _normalised(call)
                if cache.times > 1:
                    cache.store["normalised"] = a
            norms["weight"] = _over_channels(delta * a).square().sum(dim=1)
        if "bias" in call.parameters:
            norms["bias"] = _over_channels(delta).square().sum(dim=1)
        return norms


def _normalised(call: LayerCall) -> Tensor:
    module, a = call.module, call.input
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    assert module.running_mean is not None
    assert module.running_var is not None
    shape = (1, -1, *(1,) * (a.dim() - 2))
    return (a - module.running_mean.view(shape)) * torch.rsqrt(module.running_var + module.eps).view(shape)


def _over_channels(values: Tensor) -> Tensor:
    """(B, C, ...) to the sum over positions (B, C)."""
    return values.flatten(2).sum(dim=2) if values.dim() > 2 else values


REGISTER: dict[type[nn.Module], LayerKind] = {nn.BatchNorm1d: BatchNormKind(), nn.BatchNorm2d: BatchNormKind()}
