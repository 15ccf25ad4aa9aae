"""Linear layers, also on inputs with dimensions between the sample's and the features'."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.probes.metrics.layer_kinds.base import CallCache, LayerKind
from overfit_lab.probes.metrics.layer_kinds.products import outer_squared_norm
from overfit_lab.probes.metrics.local import LayerCall


class LinearKind(LayerKind):
    """y = W a + b at every position: g = sum_l delta_l a_l^T for W, sum_l delta_l for b."""

    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """One multiplication by the direction's matrix."""
        total = delta.new_zeros(len(delta))
        if "weight" in direction:
            total = total + (delta * functional.linear(call.input, direction["weight"])).flatten(1).sum(dim=1)
        if "bias" in direction:
            total = total + (delta * direction["bias"]).flatten(1).sum(dim=1)
        return total

    def squared_norm(self, call: LayerCall, delta: Tensor, cache: CallCache) -> dict[str, Tensor]:
        """||delta||^2 ||a||^2 for the weight where there is one position."""
        rows = len(delta)
        d = delta.reshape(rows, -1, delta.shape[-1]).transpose(1, 2)
        norms = {}
        if "weight" in call.parameters:
            a = call.input.reshape(rows, -1, call.input.shape[-1]).transpose(1, 2)
            norms["weight"] = outer_squared_norm(a, d, cache)
        if "bias" in call.parameters:
            norms["bias"] = d.sum(dim=2).square().sum(dim=1)
        return norms


REGISTER: dict[type[nn.Module], LayerKind] = {nn.Linear: LinearKind()}
