"""Early stopping on a validation split (Rice et al. 2020, arXiv 2002.11569)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.data.dataset import may_have_validation
from overfit_lab.errors import ConfigError
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.records.best import is_better
from overfit_lab.types import Clock, Value

NO_VALIDATION = (
    "stops by accuracy on the validation split, and there is none; set data.n_val, or name a split of the set by "
    "data.splits.val="
)


class EarlyStoppingOptions(config.Options):
    """Options of early stopping."""

    patience: int | None = Field(
        None, ge=1, description="end training after so many epochs without a better one; null: go on to the end"
    )


class EarlyStopping(Regularizer):
    """Keeps the weights of the best epoch so far by accuracy on the validation split: the set's own, or that of n_val.

    The accuracy is the robust one where the objective is after robustness. The weights are evaluated and probed beside
    the raw ones, as ``@early-stopping``: their curve at an epoch is what stopping there would have given. Training goes
    on to the end unless there is a patience.

    Cost: a copy of the weights, and one more evaluation each time.
    """

    Options = EarlyStoppingOptions

    def __init__(self, options: EarlyStoppingOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        if not context.has_validation:
            raise ConfigError(f"regularizers 'early-stopping': {NO_VALIDATION}")
        self.patience = options.patience
        self.field = "acc_adv" if context.robust else "acc_clean"
        self.best = {name: t.detach().clone() for name, t in context.model.state_dict().items()}
        self.accuracy = torch.full((), -1.0, dtype=torch.float64)
        self.epoch = torch.zeros((), dtype=torch.int64)
        self.last_epoch = torch.zeros((), dtype=torch.int64)

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Choosing on the test split would be no validation."""
        return None if may_have_validation(run.config.data) else NO_VALIDATION

    @torch.no_grad()
    def evaluated(self, values: list[Value], clock: Clock) -> None:
        """Keep the weights, where they are better on the validation split."""
        accuracies = [value.value for value in values if value.field == self.field and value.split == "val"]
        self.last_epoch.fill_(clock.epoch)
        if not accuracies or not is_better(accuracies[0], float(self.accuracy)):
            return
        self.accuracy.fill_(accuracies[0])
        self.epoch.fill_(clock.epoch)
        for name, state in self.context.model.state_dict().items():
            self.best[name].copy_(state)

    @property
    def finished(self) -> bool:
        """Whether the patience is at its end."""
        return self.patience is not None and int(self.last_epoch) - int(self.epoch) >= self.patience

    @property
    def drawn_at(self) -> int:
        """The best epoch: measured anew, the weights have the numbers that they had then."""
        return int(self.epoch)

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """The best weights, once there was an evaluation."""
        if int(self.epoch) == 0:
            return False
        model.load_state_dict(self.best)
        return True

    def state_dict(self) -> dict[str, Tensor]:
        """The best weights with their epoch and accuracy, and the epoch of the last evaluation."""
        weights = {f"best.{name}": t for name, t in self.best.items()}
        return {**weights, "accuracy": self.accuracy, "epoch": self.epoch, "last_epoch": self.last_epoch}


REGISTER = {"early-stopping": EarlyStopping}
