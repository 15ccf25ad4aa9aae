"""What operations make of tensors that have shapes and no numbers, worked out once for each sort of arguments.

On the meta device torch works shapes out in Python, a tenth of a millisecond or more an operation, and a step of
training consists of the same few operations thousands of times.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

META = torch.device("meta")
MOST = 10_000
"""Sorts of arguments that are remembered."""


class Layout(NamedTuple):
    """All that a tensor without numbers is."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        """A new one."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=META)


class _Unknown(Exception):
    """An argument is no plain value, or a tensor with numbers."""


def result_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same as ``func(*args, **kwargs)``; an operation that makes new tensors without numbers is remembered."""
    if _makes_new(func):
        try:
            made = _made(func, _sort_of(args), _sort_of(tuple(kwargs.items())))
        except (_Unknown, TypeError):  # TypeError: an argument that cannot be told from others
            return func(*args, **kwargs)
        if made is not None:
            return made.tensor() if isinstance(made, Layout) else tuple(one and one.tensor() for one in made)
    return func(*args, **kwargs)


@lru_cache(maxsize=MOST)
def _makes_new(func: Any) -> bool:
    """Whether nothing that goes in is written to or comes out again, and what comes out are tensors."""
    schema = func._schema
    if schema.is_mutable or not schema.returns:
        return False
    return all(out.alias_info is None and str(out.type) == "Tensor" for out in schema.returns)


def _sort_of(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        if type(value) not in (Tensor, torch.nn.Parameter) or not value.is_meta or value.layout != torch.strided:
            raise _Unknown
        return Layout(value.shape, value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        return (type(value), *map(_sort_of, value))
    return type(value), value


def _of_sort(sort: Any) -> Any:
    if isinstance(sort, Layout):
        return sort.tensor()
    kind, *values = sort
    return kind(map(_of_sort, values)) if kind in (list, tuple) else values[0]


@lru_cache(maxsize=MOST)
def _made(func: Any, args: Any, kwargs: Any) -> Layout | tuple[Layout | None, ...] | None:
    """The layout of what comes out; None where it is more than its layout, such as two views of one storage."""
    result = func(*_of_sort(args), **dict(_of_sort(kwargs)))
    several = result if isinstance(result, tuple) else (result,)
    tensors = [one for one in several if one is not None]
    if not all(isinstance(one, Tensor) and one.is_meta for one in tensors):
        return None
    layouts = [None if one is None else Layout(one.shape, one.stride(), one.dtype) for one in several]
    alike = all(
        one.untyped_storage().nbytes() == layout.tensor().untyped_storage().nbytes() and not one.storage_offset()
        for one, layout in zip(several, layouts, strict=True)
        if layout is not None
    )
    if not alike or len({one.untyped_storage()._cdata for one in tensors}) < len(tensors):
        return None
    return tuple(layouts) if isinstance(result, tuple) else layouts[0]
