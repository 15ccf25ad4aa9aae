"""KD-SWA: self-distillation and weight averaging together (Chen et al. 2021, ICLR)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext, Step
from overfit_lab.methods.regularizers.kd_at import KdAt, KdAtOptions
from overfit_lab.methods.regularizers.swa import Swa, SwaOptions
from overfit_lab.types import Clock, Outputs


class KdSwaOptions(KdAtOptions, SwaOptions):
    """Options of KD-AT and of SWA."""


class KdSwa(Regularizer):
    """KD-AT's loss while training, and the mean of the weights from the first decay on, evaluated as ``@kd-swa``.

    The same as ``kd-at`` and ``swa`` together. Cost: that of both.
    """

    Options = KdSwaOptions

    def __init__(self, options: KdSwaOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        self.distillation = KdAt(options, context)
        self.mean = Swa(options, context)

    @classmethod
    def settle(cls, options: config.Options, run: Combination) -> config.Options:
        """Start the mean at the schedule's first decay."""
        start = Swa.settle(SwaOptions.model_validate(_of(options, SwaOptions)), run)
        return cls.Options.model_validate({**options.model_dump(), **start.model_dump()})

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """That a half is listed twice, or KD-AT's reason."""
        for half in ("kd-at", "swa"):
            if half in run.regularizers:
                return f"has {half} in it; list one of the two"
        return KdAt.refuse(options, run)

    def loss(self, loss: Tensor, step: Step, outputs: Outputs) -> Tensor:
        """KD-AT's."""
        return self.distillation.loss(loss, step, outputs)

    def epoch_ended(self, clock: Clock) -> None:
        """SWA takes in the weights."""
        self.mean.epoch_ended(clock)

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """SWA's."""
        return self.mean.second_weights(model)

    def state_dict(self) -> dict[str, Tensor]:
        """SWA's."""
        return self.mean.state_dict()


def _of(options: config.Options, kind: type[config.Options]) -> dict[str, object]:
    return {name: value for name, value in options.model_dump().items() if name in kind.model_fields}


REGISTER = {"kd-swa": KdSwa}
