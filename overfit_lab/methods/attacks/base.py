"""The protocol of attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from overfit_lab.errors import ConfigError
from overfit_lab.methods.threat import ThreatModel

Loss = Callable[[Tensor], Tensor]
"""Logits of perturbed images (B, K) to one loss a sample (B,); the attack maximises each. Bound to its batch."""

Start = Callable[[Tensor, torch.Generator], Tensor]
"""Clean images (B, ...) and a random stream to the images that an attack starts from."""


class Attack(Protocol):
    """Maximises a loss inside a threat model; or a noise in its place."""

    threat: ThreatModel
    adversarial: ClassVar[bool]
    """Whether it maximises the loss; a noise of the same size does not."""
    trains: ClassVar[bool]
    """Whether it can ascend any training loss; an attack that needs labels cannot."""

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """Adversarial images of the same shape as ``x``, within the threat model, detached.

        Leaves no parameter gradient, and the model in the mode that it was in.

        Args:
            model: maps images in [0, 1] (B, C, H, W) to logits (B, K).
            x: clean images in [0, 1] (B, C, H, W).
            loss: what to maximise.
            start: where to start; None is the attack's own start. The start is projected.
        """
        ...

    def scaled(self, factor: float) -> Self:
        """The same attack with the radius of its ball and its step times ``factor`` (0 or more)."""
        ...


def refuse_few_classes(name: str, component: object, n_classes: int, owner: str = "this model") -> None:
    """Refuse an attack or a loss that has no gradient, or no target, with so few classes.

    Args:
        name: of the component, for the message.
        component: says what it needs as ``least_classes``; nothing where it does not.
        owner: what has the classes.

    Raises:
        ConfigError: there are too few.
    """
    least = getattr(component, "least_classes", 0)
    if n_classes < least:
        raise ConfigError(
            f"{name}: needs {least} classes or more, {owner} has {n_classes}; "
            "pgd with the loss ce or margin, apgd-ce, fab-t and square do with 2"
        )


A_ = TypeVar("A_")


def brief(attack: A_) -> A_:
    """A copy with a step or two in the place of many, to try whether it runs; itself where it does not say how."""
    shortened = getattr(attack, "brief", None)
    return shortened() if callable(shortened) else attack
