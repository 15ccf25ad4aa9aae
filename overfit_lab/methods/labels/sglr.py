"""SGLR: self-guided label refinement (Yu, Li, Wei, Jin, Zhang, Chan 2024, arXiv 2403.09101)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.labels.base import CleanForward, LabelContext, LabelMode, Refresh, one_hot
from overfit_lab.types import Batch, Clock, Outputs, Targets

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"r": 0.2, "a": 0.9, "lam": 0.2, "temperature": 1.0, "start_epoch": 0, "clean_forward": "frozen"},
    "authors-code": {
        "r": 1.0,
        "a": 0.9,
        "lam": 0.2,
        "temperature": 1.0,
        "start_epoch": "45%",
        "clean_forward": "train",
    },
}


class SglrOptions(config.Options):
    """Options of SGLR; those that are not given come from the preset."""

    preset: Literal["paper", "authors-code"] = Field("paper", description="where the options not given come from")
    r: float = Field(0.2, ge=0, le=1, description="share of the refined label in the target (Eq. 6)")
    a: float = Field(0.9, ge=0, le=1, description="momentum of the average over visits (Eq. 8)")
    lam: float = Field(0.2, ge=0, le=1, description="share of the clean prediction, 1 - lam of the adversarial (Eq. 7)")
    temperature: float = Field(1.0, gt=0, description="T, divides the logits; below 1 sharpens")
    start_epoch: Moment = Field(0, description="hard labels before it; an epoch or a share of the run")
    clean_forward: Literal["frozen", "eval", "train"] = Field(
        "frozen", description="batch norm in the forward pass on clean images; 'train' moves its statistics twice"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        options = dict(values)
        if "T" in options:
            if "temperature" in options:
                raise ValueError("T and temperature are the same option; give one")
            options["temperature"] = options.pop("T")
        return {**PRESETS.get(options.get("preset", "paper"), {}), **options}


class Sglr(LabelMode):
    """The model's own averaged predictions refine the label.

    At the t-th visit of sample i, with both predictions detached::

        f_t = lam softmax(z(x_i) / T) + (1 - lam) softmax(z(x'_i) / T)     (Eq. 7)
        p_t = a p_(t-1) + (1 - a) f_t,   p_0 = e_y                         (Eq. 8)
        t_i = r p_t + (1 - r) e_y                                           (Eq. 6 with p_t for p)

    The paper's text leaves constants open: preset ``paper`` (r .2, T 1, from the start, batch-norm statistics unmoved
    by the forward pass on clean images) and preset ``authors-code`` (t_i = p_t, hard labels before 45% of the run,
    and a train-mode forward pass on clean images that moves batch-norm statistics a second time in each step).
    Without an attack z(x') is z(x).

    Cost: one forward pass without gradients on the clean images a step, unless the objective makes one anyway;
    memory of N x K floats, on disk where that is large.
    """

    Options = SglrOptions
    options: SglrOptions
    refresh = Refresh.AFTER_FORWARD
    sees_images = False

    def __init__(self, options: SglrOptions, context: LabelContext) -> None:
        super().__init__(options, context)
        self.start_epoch = resolve_moment(options.start_epoch, context.n_epochs)
        self.rows = context.one_hot_rows()

    @property
    def clean_forward(self) -> CleanForward:
        """How the clean images are passed through the model."""
        return CleanForward(self.options.clean_forward)

    def active(self, clock: Clock) -> bool:
        """From the start epoch on."""
        return clock.epoch >= self.start_epoch

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Outputs, clock: Clock) -> None:
        """Average the rows of this batch with its predictions (Eqs. 7 and 8); other rows stay."""
        # Runs between the step's forward pass and its loss: the loss of visit t has p_t, its attack still had p_(t-1).
        new = self.prediction(outputs)
        self.rows[batch.index] = self.options.a * self.rows[batch.index] + (1 - self.options.a) * new

    def prediction(self, outputs: Outputs) -> Tensor:
        """f_t of Eq. 7, rows (B, K) that sum to 1."""
        temperature, lam = self.options.temperature, self.options.lam
        adv = torch.softmax(outputs.main.float() / temperature, dim=1)
        if outputs.clean is None or outputs.adv is None:  # without an attack both parts of Eq. 7 are one
            return adv
        return lam * torch.softmax(outputs.clean.float() / temperature, dim=1) + (1 - lam) * adv

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """Refined rows (B, K); one-hot before the start epoch."""
        hard = one_hot(batch.y, self.context.n_classes)
        if not self.active(clock):
            return Targets(probs=hard, given=batch.y)
        probs = self.options.r * self.rows[batch.index] + (1 - self.options.r) * hard
        return Targets(probs=probs, given=batch.y)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged predictions p (N, K)."""
        return {"rows": self.rows.tensor}


REGISTER = {"sglr": Sglr}
