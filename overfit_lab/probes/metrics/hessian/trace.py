"""Input and output of an estimator of the trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Over = Literal["random vectors", "samples"]


@dataclass(frozen=True)
class Part:
    """The trace of one layer's diagonal block, with its standard error."""

    value: float
    stderr: float | None


@dataclass(frozen=True)
class Trace:
    """A trace with its standard error, and those of the layers' diagonal blocks.

    Args:
        stderr: standard error; None where there is one draw.
        n_vectors: random vectors (of weights or of logits) that entered it; 0 for the exact trace.
        over: what the error is over: the random vectors at the given samples, or the samples.
        via: the way to the gradients of single samples; "" where the trace is from products with the Hessian.
    """

    value: float
    stderr: float | None
    n_vectors: int
    over: Over = "random vectors"
    layers: dict[str, Part] = field(default_factory=dict)
    via: str = ""


@dataclass(frozen=True)
class Problem:
    """The Hessian's model, in eval mode, and data (constant), and the budget of the estimator.

    Args:
        chunk: images per pass of a product.
        generator: random stream on the images' device.
        tolerance: relative standard error that is enough.
        layer_depth: parts of a module's path that make a layer; None for the whole path.
        output_vectors: random vectors in the logits, of the sampled estimator.
        linear: what :func:`overfit_lab.probes.metrics.hessian.piecewise.piecewise_linear` says of the model.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    chunk: int
    generator: torch.Generator
    max_vectors: int = 30
    tolerance: float = 0.05
    layer_depth: int | None = None
    output_vectors: int = 1
    linear: tuple[bool | None, str] = (False, "it was not checked whether its logits are piecewise linear")


def mean_and_stderr(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; infinite for one sample."""
    values = np.asarray(samples)
    if len(values) < 2:
        return float(values.mean()), math.inf
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def part_of(samples: Sequence[float]) -> Part:
    """A layer's mean over draws."""
    mean, stderr = mean_and_stderr(samples)
    return Part(mean, stderr if len(samples) > 1 else None)


class Moments:
    """Running mean and spread of numbers that come in pieces (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        """Take in a piece (b,)."""
        count, mean = len(values), values.mean().item()
        gap, total = mean - self.mean, self.count + count
        self.squares += (values - mean).square().sum().item() + gap**2 * self.count * count / total
        self.mean += gap * count / total
        self.count = total

    @property
    def part(self) -> Part:
        """The mean, with its standard error over the numbers."""
        if self.count < 2:
            return Part(self.mean, None)
        return Part(self.mean, math.sqrt(self.squares / (self.count - 1) / self.count))
