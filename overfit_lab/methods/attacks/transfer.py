"""Attacks that were found on another model."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from overfit_lab.methods.attacks.base import Attack, Loss, Start


class Transfer:
    """Images that an attack finds on a source model, shown to another (Papernot et al. 2016, arXiv 1605.07277).

    Args:
        source: maps images in [0, 1] to logits of the same classes.

    Cost: that of the attack, on the source.
    """

    adversarial: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __init__(self, source: nn.Module, attack: Attack) -> None:
        self.source = source
        self.attack = attack
        self.threat = attack.threat

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """Adversarial images (B, ...) of the source; ``model`` plays no part."""
        return self.attack(self.source, x, loss, generator=generator, start=start)

    def scaled(self, factor: float) -> Transfer:
        """The same with the attack's radius and step times ``factor``."""
        return Transfer(self.source, self.attack.scaled(factor))
