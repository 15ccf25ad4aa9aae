"""AutoAttack and its parts (Croce and Hein 2020, arXiv 2003.01690), by the authors' own code in pyautoattack.

The parts are set up as in the authors' ``standard`` version. Each has an answer of its own to gradients that mislead:
APGD needs no step size, its loss (difference of logits ratio) has no scale, FAB looks for the nearest boundary, and
Square (Andriushchenko et al. 2020, arXiv 1912.00049) uses no gradient at all.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.base import Loss, Start, refuse_few_classes
from overfit_lab.methods.attacks.gradient import Connected, Sound
from overfit_lab.methods.attacks.losses import labels_of
from overfit_lab.methods.attacks.square_l2 import search, tiles_fit
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.isolation import frozen, mode, unmoved_statistics
from overfit_lab.seeds import private_streams

NORMS = {"linf": "Linf", "l2": "L2"}
N_ITER = 100
N_QUERIES = 5000
MOST_TARGETS = 9
"""Wrong classes that a targeted attack tries, those with the largest logits first."""
QUIET = logging.getLogger(__name__)
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class LabelAttack(ABC):
    """An attack of the library: needs labels, and stops at an image that is wrong already.

    Args:
        threat: the ball; the pixel bounds must be 0 and 1.
        seed: of the attack's random draws, the same in every call; None: drawn from the generator of each call.
        n_iter: gradient steps for each start and target class (APGD, FAB).
        n_queries: forward passes for an image that stays right (Square).
        **settings: what other attacks take besides; there is no step size to choose here.
    """

    adversarial: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    name: ClassVar[str]
    least_classes: ClassVar[int] = 2

    def __init__(
        self,
        threat: ThreatModel,
        *,
        seed: int | None = None,
        n_iter: int = N_ITER,
        n_queries: int = N_QUERIES,
        **settings: Any,
    ) -> None:
        if (threat.low, threat.high) != (0.0, 1.0):
            raise ConfigError(f"attack {self.name!r}: knows pixels in [0, 1] only, got [{threat.low}, {threat.high}]")
        self.threat = threat
        self.seed = seed
        self.n_iter = n_iter
        self.n_queries = n_queries

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """Adversarial images (B, ...) where a wrong answer was found; see :class:`~.attacks.base.Attack`.

        ``loss`` gives the labels alone, and ``start`` plays no part.

        Raises:
            ConfigError: ``loss`` is no loss of labels, or there are fewer classes than the attack needs.
        """
        y = labels_of(loss, self.name)
        seed = self.seed
        if seed is None:
            seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device).item())
        if self.threat.eps == 0:
            return x.detach().clone()
        with (
            mode(model, training=False),
            unmoved_statistics(model),
            frozen(model),
            private_streams(seed),
            torch.no_grad(),
        ):
            predict = Connected(model)
            n_classes = int(predict(x[:1]).shape[1])
            refuse_few_classes(f"attack {self.name!r}", self, n_classes)
            return self.find(predict, x.detach(), y, seed, n_classes).detach()

    @abstractmethod
    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """Images (B, ...) that fool the model where the library's attack finds them."""

    @property
    @abstractmethod
    def n_calls(self) -> int:
        """Approximate number of model calls for a batch that resists to the end."""

    def scaled(self, factor: float) -> Self:
        """The same attack with radius times ``factor``."""
        threat = replace(self.threat, eps=self.threat.eps * factor)
        return type(self)(threat, seed=self.seed, n_iter=self.n_iter, n_queries=self.n_queries)

    def brief(self) -> Self:
        """The same attack with two steps and two queries at most."""
        return type(self)(self.threat, seed=self.seed, n_iter=min(self.n_iter, 2), n_queries=min(self.n_queries, 2))

    def _by_direction(self, predict: nn.Module) -> nn.Module:
        """For l_2 the model with gradients whose length can be divided by; for l_inf their signs do as they are."""
        return Sound(predict, directions=True) if self.threat.norm == "l2" else predict

    def _common(self, x: Tensor, seed: int) -> dict[str, Any]:
        return {"norm": NORMS[self.threat.norm], "eps": self.threat.eps, "seed": seed, "device": x.device}


class APGD(LabelAttack):
    """Projected gradient ascent that halves its step where it stalls, on the cross entropy; one start.

    Cost: ``n_iter`` forward passes and as many backward passes to the input.
    """

    name = "apgd-ce"
    loss: ClassVar[str] = "ce"

    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """See :class:`LabelAttack`."""
        predict = self._by_direction(predict)
        attack = APGDAttack(
            predict, n_restarts=1, n_iter=self.n_iter, loss=self.loss, logger=QUIET, **self._common(x, seed)
        )
        return attack.perturb(x, y)  # type: ignore[no-any-return]

    @property
    def n_calls(self) -> int:
        """One start and ``n_iter`` steps."""
        return self.n_iter + 2


class APGDRatio(APGD):
    """The same on the difference of logits ratio, untargeted."""

    name = "apgd-dlr"
    loss = "dlr"
    least_classes = 3


class APGDTargeted(LabelAttack):
    """APGD on the targeted difference of logits ratio, towards up to nine wrong classes in turn.

    Cost: nine times that of APGD for an image that stays right.
    """

    name = "apgd-t"
    least_classes = 4

    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """See :class:`LabelAttack`."""
        predict = self._by_direction(predict)
        attack = APGDAttack_targeted(
            predict,
            n_restarts=1,
            n_iter=self.n_iter,
            n_target_classes=min(MOST_TARGETS, n_classes - 1),
            logger=QUIET,
            **self._common(x, seed),
        )
        return attack.perturb(x, y)  # type: ignore[no-any-return]

    @property
    def n_calls(self) -> int:
        """One start and ``n_iter`` steps for each target class."""
        return MOST_TARGETS * (self.n_iter + 3)


class FABTargeted(LabelAttack):
    """Fast adaptive boundary attack (Croce and Hein 2020, arXiv 1907.02044) towards up to nine wrong classes in turn.

    An adversarial image counts only within eps. Cost: ``n_iter`` times two forward passes and a backward pass to the
    input for each target class.
    """

    name = "fab-t"
    targeted: ClassVar[bool] = True

    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """See :class:`LabelAttack`."""
        predict = Sound(predict, directions=False)
        attack = FABAttack_PT(
            predict,
            n_restarts=1,
            n_iter=self.n_iter,
            targeted=self.targeted,
            n_target_classes=min(MOST_TARGETS, n_classes - 1),
            **self._common(x, seed),
        )
        return attack.perturb(x, y)  # type: ignore[no-any-return]

    @property
    def n_calls(self) -> int:
        """Two for each step towards each target class."""
        return MOST_TARGETS * (2 * self.n_iter + 3)


class FAB(FABTargeted):
    """The same, untargeted: towards the nearest of all boundaries. Cost grows with the number of classes."""

    name = "fab"
    targeted = False

    @property
    def n_calls(self) -> int:
        """Two for each step."""
        return 2 * self.n_iter + 3


class Square(LabelAttack):
    """Random search over squares of pixels: no gradient is used (Andriushchenko et al. 2020).

    For l_2 the library's first tiles do not fit on every size of image; on the others the search is our own
    (:mod:`overfit_lab.methods.attacks.square_l2`), with the same steps.

    Unlike the library's own entry point it gives the best image also where the model stayed right, so that
    confidence under this attack can be measured; which images fool the model is the same.

    Cost: up to ``n_queries`` forward passes.
    """

    name = "square"

    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """See :class:`LabelAttack`."""
        attack = SquareAttack(
            predict, p_init=0.8, n_queries=self.n_queries, n_restarts=1, resc_schedule=False, **self._common(x, seed)
        )
        x_adv = x.clone()
        right = predict(x).argmax(dim=1) == y
        if right.any():
            torch.manual_seed(seed)
            attack.init_hyperparam(x)
            if self.threat.norm == "l2" and not tiles_fit(*x.shape[-2:]):
                x_adv[right] = search(attack, x[right], y[right])
            else:
                _, x_adv[right] = attack.attack_single_run(x[right].clone(), y[right].clone())
        return x_adv

    @property
    def n_calls(self) -> int:
        """``n_queries`` and the first draw."""
        return self.n_queries + 2


STANDARD: tuple[type[LabelAttack], ...] = (APGD, APGDTargeted, FABTargeted, Square)


class AutoAttack(LabelAttack):
    """The ``standard`` ensemble: APGD-CE, targeted APGD, targeted FAB, Square, each on what the last left right.

    Cost: the sum of its parts on images that stay right, some 8,000 forward and 2,000 backward passes.
    """

    name = "autoattack"
    least_classes = 4

    @property
    def stages(self) -> tuple[LabelAttack, ...]:
        """The parts, in their order."""
        settings: dict[str, Any] = {"seed": self.seed, "n_iter": self.n_iter, "n_queries": self.n_queries}
        return tuple(part(self.threat, **settings) for part in STANDARD)

    def find(self, predict: nn.Module, x: Tensor, y: Tensor, seed: int, n_classes: int) -> Tensor:
        """See :class:`LabelAttack`."""
        x_adv = x.clone()
        right = predict(x).argmax(dim=1) == y
        for stage in self.stages:
            which = right.nonzero().flatten()
            if len(which) == 0:
                break
            candidates = stage.find(predict, x[which], y[which], seed, n_classes)
            fooled = predict(candidates).argmax(dim=1) != y[which]
            x_adv[which[fooled]] = candidates[fooled]
            right[which[fooled]] = False
        return x_adv

    @property
    def n_calls(self) -> int:
        """Those of all parts."""
        return sum(stage.n_calls for stage in self.stages)


REGISTER = {attack.name: attack for attack in (AutoAttack, APGD, APGDRatio, APGDTargeted, FAB, FABTargeted, Square)}
