"""What was found out about models, by trial, and holds until their form changes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from torch import nn

from overfit_lab.models.compute.forms import form_of
from overfit_lab.models.remembered import remembered

T = TypeVar("T")
MOST = 32
"""Answers of one model that are remembered, the latest."""


class Verdicts(Generic[T]):
    """Answers about models, each found by a trial, by weak reference.

    Args:
        every: how often an answer is used before it is tried again: the form of a model cannot show all that its
            forward pass may depend on.
        is_open: whether an answer is none yet, and is not remembered.
    """

    def __init__(
        self, every: float = math.inf, *, is_open: Callable[[T], bool] = lambda answer: answer is None
    ) -> None:
        self.every, self.is_open = every, is_open
        self._known: weakref.WeakKeyDictionary[nn.Module, dict[Hashable, tuple[T, int]]] = remembered()

    def of(self, model: nn.Module, key: Hashable, trial: Callable[[], T]) -> T:
        """The answer for a model in its present form and modes.

        Args:
            key: what the answer depends on besides the model.
            trial: finds the answer out.
        """
        known = self._known.setdefault(model, {})
        full = (form_of(model), tuple(module.training for module in model.modules()), key)
        answer, uses = known.pop(full) if full in known else (trial(), 0)
        if uses >= self.every:
            answer, uses = trial(), 0
        if not self.is_open(answer):
            known[full] = (answer, uses + 1)
        while len(known) > MOST:
            del known[next(iter(known))]
        return answer
