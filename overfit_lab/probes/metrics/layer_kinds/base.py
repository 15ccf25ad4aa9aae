"""The base class of formulas for per-sample weight gradients of one kind of layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from overfit_lab.probes.metrics.local import LayerCall


@dataclass
class CallCache:
    """Tensors of one call that its derivatives share, between the backward passes of one local pass.

    ``times`` is the number of its derivatives; with more of them it pays to prepare the input.
    """

    times: int = 1
    store: dict[str, Tensor] = field(default_factory=dict)


class LayerKind(ABC):
    """Formulas for modules of one kind, y = f(a; w), at one call.

    Sample i's weight gradient is g_i = (df/dw)^T delta_i. Both readings avoid forming it where they can.
    """

    def handles(self, call: LayerCall) -> bool:
        """Whether the formulas hold for this call's module in its present state."""
        return True

    @abstractmethod
    def directional(self, call: LayerCall, delta: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
        """<g_i, d> of each sample (B,), with the derivative at the output (B, ...).

        The direction d is by the parameter's name in the module; parameters not in it count as 0.

        Cost: the arithmetic of one forward pass through the layer.
        """

    @abstractmethod
    def squared_norm(self, call: LayerCall, delta: Tensor, cache: CallCache) -> dict[str, Tensor]:
        """||g_i||^2 of each sample (B,), by the parameter's name in the module; the cache is the call's own."""
