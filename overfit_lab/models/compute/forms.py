"""The form of a model: what its forward pass depends on besides the values of tensors."""

from __future__ import annotations

from typing import Any

from torch import nn

PLAIN = (bool, int, float, str)


def build_of(model: nn.Module) -> tuple[object, ...]:
    """Which modules a model has, and how their switches stand: numbers, truth values and text among attributes."""
    return tuple((id(module), tuple(sorted(_switches(module)))) for module in model.modules())


def form_of(model: nn.Module) -> tuple[object, ...]:
    """What a trace of the model depends on besides tensors: its build and its hooks."""
    hooks = tuple(tuple(map(_identity, hooks_of(module))) for module in model.modules())
    return build_of(model), hooks


def hooks_of(module: nn.Module) -> list[object]:
    """Every hook of a module, forward and backward."""
    tables = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks)
    return [hook for table in tables for hook in table.values()]


def _identity(hook: Any) -> int:
    """The hook itself, or the module of a pure one, which may come and go in hooks that are made anew."""
    return id(hook.module) if getattr(hook, "is_pure", False) else id(hook)


def _switches(module: nn.Module) -> list[tuple[str, str]]:
    attributes = vars(module).items()
    return [(name, repr(value)) for name, value in attributes if type(value) in PLAIN and name != "training"]
