"""Everything that a model holds: which objects its modules refer to, and the bits of every tensor among them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Slots = Any
"""A container that refers to objects: the attributes of a module, or a dict, list, deque or set among them."""


_keeping_books: ContextVar[bool] = ContextVar("operations that are no network's", default=False)


@contextmanager
def bookkeeping() -> Iterator[None]:
    """Operations inside are no network's and no attack's; who counts those asks :func:`is_bookkeeping`."""
    token = _keeping_books.set(True)
    try:
        yield
    finally:
        _keeping_books.reset(token)


def is_bookkeeping() -> bool:
    """Whether what is done now is :func:`bookkeeping`."""
    return _keeping_books.get()


INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By the bytes of a number."""


@dataclass
class _Contents:
    """A container and what it referred to, in its order."""

    slots: Slots
    items: list[tuple[Any, Any]]

    def restore(self) -> None:
        """Make the container refer to the same objects again; one that does is not touched."""
        if _same_items(_items(self.slots), self.items):
            return
        if isinstance(self.slots, dict) and list(self.slots) == [key for key, _ in self.items]:
            for key, value in self.items:  # most differ in a mode or a weight alone, and compiled code watches the rest
                if self.slots[key] is not value:
                    self.slots[key] = value
        elif isinstance(self.slots, dict):
            self.slots.clear()
            self.slots.update(self.items)
        elif isinstance(self.slots, set):
            self.slots.clear()
            self.slots.update(value for _, value in self.items)
        else:
            self.slots.clear()
            self.slots.extend(value for _, value in self.items)


@dataclass
class _Bits:
    """A tensor with a copy of its values, and what autograd knows of it."""

    tensor: Tensor
    values: Tensor
    requires_grad: bool
    grad: Tensor | None

    def restore(self) -> None:
        """Give the tensor its values back; one that has them is not written to, so that graphs which saved it stand."""
        with torch.no_grad():
            if not _same_bits(self.tensor, self.values):
                self.tensor.copy_(self.values)
        if self.tensor.is_leaf:
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)
            if self.tensor.grad is not self.grad:
                self.tensor.grad = self.grad


class Holdings:
    """What a model holds at one moment, to be put back later.

    Every attribute of every module, parameters, buffers, hooks and modes among them, and dicts, lists, deques and sets
    within attributes: the same objects are referred to again. Tensors among them get their values, their
    ``requires_grad`` and their ``grad`` back.

    Args:
        bits: also keep the tensors' values; else only what refers to what.

    Cost: a copy of the model's tensors, where ``bits`` are kept.
    """

    def __init__(self, model: nn.Module, *, bits: bool = True) -> None:
        self._contents = [_Contents(slots, _items(slots)) for slots in containers(model)]
        self._modes = [(module, module.training) for module in model.modules()]  # a scripted one has it elsewhere
        self._bits: list[_Bits] = []
        if bits:
            values = [value for contents in self._contents for _, value in contents.items]
            values += [*model.parameters(), *model.buffers()]
            tensors = {id(value): value for value in values if _has_values(value)}
            with bookkeeping():
                self._bits = [_Bits(t, t.detach().clone(), t.requires_grad, _grad(t)) for t in tensors.values()]

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that can have a gradient of their own."""
        return [entry.tensor for entry in self._bits if entry.tensor.is_leaf]

    def restore(self) -> None:
        """Put everything back; what is as it was is not touched."""
        for contents in self._contents:
            contents.restore()
        for module, mode in self._modes:
            if module.training is not mode:
                module.training = mode
        with bookkeeping():
            for entry in self._bits:
                entry.restore()


def containers(model: nn.Module) -> Iterator[Slots]:
    """Everything in a model that refers to tensors or modules; each once."""
    seen: set[int] = set()
    for module in model.modules():
        waiting: list[Slots] = [vars(module)]
        while waiting:
            slots = waiting.pop()
            if id(slots) in seen:
                continue
            seen.add(id(slots))
            yield slots
            waiting += [value for _, value in _items(slots) if type(value) in (dict, OrderedDict, list, deque, set)]


@contextmanager
def substituted(model: nn.Module, tensors: Mapping[int, Tensor]) -> Iterator[None]:
    """Inside, the model refers to other tensors, wherever it refers to those that they stand for.

    A parameter that several modules hold, or a module under several names, is one object, so that one entry replaces
    it everywhere: also in plain attributes and lists, such as the flat weights of recurrent layers.

    Args:
        tensors: id of a parameter or buffer to the tensor in its place.
    """
    held = Holdings(model, bits=False)
    try:
        for slots in list(containers(model)):
            for key, value in _items(slots) if not isinstance(slots, set) else ():
                if isinstance(value, Tensor) and id(value) in tensors:
                    slots[key] = tensors[id(value)]
        yield
    finally:
        held.restore()


def with_weights(model: nn.Module, weights: Mapping[str, Tensor], run: Callable[[], Any]) -> Any:
    """What ``run`` gives while the model computes with other weights, by the names of its parameters."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with substituted(model, {id(parameters[name]): tensor for name, tensor in weights.items()}):
        return run()


def _items(slots: Slots) -> list[tuple[Any, Any]]:
    return list(slots.items()) if isinstance(slots, dict) else list(enumerate(slots))


def _same_items(now: list[tuple[Any, Any]], before: list[tuple[Any, Any]]) -> bool:
    if len(now) != len(before):
        return False
    return all(a is b and (i is j or i == j) for (i, a), (j, b) in zip(now, before, strict=True))


def _has_values(value: object) -> bool:
    return isinstance(value, Tensor) and not nn.parameter.is_lazy(value)


def _grad(tensor: Tensor) -> Tensor | None:
    return tensor.grad if tensor.is_leaf else None  # that of another one warns


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one type hold the same bits, also where they are not numbers."""
    if a.is_meta:  # it has none
        return True
    if a.layout is not torch.strided or a.is_quantized:
        return False
    return torch.equal(_as_integers(a), _as_integers(b))


def _as_integers(tensor: Tensor) -> Tensor:
    """The same memory, in the same order, read as integers."""
    tensor = tensor.detach()
    if tensor.dtype == torch.complex128:
        tensor = torch.view_as_real(tensor)
    return tensor.view(INTEGERS[tensor.element_size()])
