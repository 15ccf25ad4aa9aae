"""Selects the formulas for a call."""

from __future__ import annotations

from torch import nn

from overfit_lab.probes.metrics.layer_kinds import batch_norm, convolution, linear
from overfit_lab.probes.metrics.layer_kinds.base import LayerKind
from overfit_lab.probes.metrics.layer_kinds.generic import GenericKind
from overfit_lab.probes.metrics.local import LayerCall

KINDS: dict[type[nn.Module], LayerKind] = {}
"""By the module's very class: a subclass may compute something else."""
for _file in (linear, convolution, batch_norm):
    KINDS.update(_file.REGISTER)

GENERIC = GenericKind()


def kind_of(call: LayerCall) -> LayerKind:
    """The formulas of the module's class; the generic ones for other classes and for computed weights."""
    module = call.module
    kind = KINDS.get(type(module))
    if kind is None or "forward" in vars(module) or not kind.handles(call):
        return GENERIC
    plain = set(module._parameters) <= {"weight", "bias"} and "weight" in module._parameters
    return kind if plain else GENERIC
