"""Averages of a model's weights, and batch-norm statistics that go with them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.models.isolation import isolated
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.types import Split, to_float

CHUNK = 256


class WeightAverage(Regularizer):
    """Keeps an average of all floating-point tensors of the model's state, and the number of states in it."""

    def __init__(self, options: config.Options, context: RegularizerContext) -> None:
        super().__init__(options, context)
        self.average = {name: t.detach().clone() for name, t in context.model.state_dict().items()}
        self.count = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def take_in(self, share: float) -> None:
        """Move the average by ``share`` of the way to the model's present state; the first state replaces it."""
        share = 1.0 if int(self.count) == 0 else share  # nothing is left of the weights before training
        averages, states = [], []
        for name, state in self.context.model.state_dict().items():
            if state.is_floating_point() and share < 1:
                averages.append(self.average[name])
                states.append(state)
            else:
                self.average[name].copy_(state)
        if averages:
            torch._foreach_lerp_(averages, states, share)
        self.count += 1

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """The average, where a state has entered it."""
        if int(self.count) == 0:
            return False
        model.load_state_dict(self.average)
        return True

    def state_dict(self) -> dict[str, Tensor]:
        """The average by name, and the number of states in it."""
        return {**{f"average.{name}": t for name, t in self.average.items()}, "count": self.count}


def batch_norms(model: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    """The batch-norm layers that keep running statistics."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            yield module


@torch.no_grad()
def recompute_statistics(model: nn.Module, split: Split, seed: int) -> None:
    """Recompute a model's batch-norm statistics: equal-weight means over the split's clean images, in chunks of 256.

    Only batch norms are in train mode: nothing is dropped out, and nothing else moves. A network that draws random
    numbers in eval mode too draws them from a stream of its own. A last chunk of fewer than two images is left out.
    Nothing happens where there is no batch norm.

    Args:
        seed: of the run.

    Cost: one forward pass a sample, and a copy of the weights.
    """
    norms = list(batch_norms(model))
    if not norms:
        return
    with isolated(model), private_streams(derive_seed(seed, "batch-norm-statistics")):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then takes the plain mean over chunks
            norm.training = True
        for images in split.x.split(CHUNK):
            if len(images) > 1:
                model(to_float(images))
        found = [[buffer.clone() for buffer in norm.buffers(recurse=False)] for norm in norms]
    for norm, values in zip(norms, found, strict=True):
        for buffer, value in zip(norm.buffers(recurse=False), values, strict=True):
            buffer.copy_(value)
