"""What is remembered of models, beside them, and a way to look at one without remembering."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_stores: list[weakref.WeakKeyDictionary[nn.Module, Any]] = []


def remembered() -> weakref.WeakKeyDictionary[nn.Module, Any]:
    """A place for what one question about models was answered, by weak reference to the model."""
    store: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
    _stores.append(store)
    return store


@contextmanager
def nothing_remembered(model: nn.Module) -> Iterator[None]:
    """Inside, nothing is known of the model, and what is learnt there is forgotten on leaving."""
    before = [store.pop(model, None) for store in _stores]
    try:
        yield
    finally:
        for store, known in zip(_stores, before, strict=False):  # a module that was imported inside adds a store
            store.pop(model, None)
            if known is not None:
                store[model] = known
        for store in _stores[len(before) :]:
            store.pop(model, None)
