"""Finds the reading of a foreign state dict that fits a model exactly, or explains why none does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overfit_lab.config.catalog import LAYOUTS
from overfit_lab.errors import ConfigError, WeightsError
from overfit_lab.models.constants import check_constants
from overfit_lab.models.layout import Layout
from overfit_lab.models.normalize import find_normalize
from overfit_lab.models.spellings import Reading, readings, strip_prefixes

COUNTER = "num_batches_tracked"
OUR_NAMES = "our own names"


@dataclass(frozen=True)
class Attempt:
    """One reading under one layout, compared with a model.

    Args:
        renamed: the state dict with the model's names.
        missing: names of the model that it lacks.
        unexpected: its names that the model lacks.
        shaped: common names of different shapes.
    """

    layout: str
    reading: Reading
    renamed: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    shaped: list[str]

    @property
    def n_problems(self) -> int:
        """Number of names that do not match."""
        return len(self.missing) + len(self.unexpected) + len(self.shaped)


def fit(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """See :func:`overfit_lab.models.weights.load_into`."""
    expected = strip_prefixes(model.state_dict())  # without prefixes common to all, as the file's tensors are
    attempts = list(_attempts(model, state, expected))
    full = [attempt for attempt in attempts if not attempt.n_problems and not attempt.reading.subtree]
    parts = [attempt for attempt in attempts if not attempt.n_problems and attempt.reading.subtree]
    if not full and not parts:
        raise WeightsError(_explain(model, state, expected, min(attempts, key=lambda attempt: attempt.n_problems)))
    chosen = (full or parts)[0]
    for other in [] if full else parts[1:]:
        if not _equal(chosen.renamed, other.renamed):
            names = f"{chosen.reading.subtree!r} and {other.reading.subtree!r}"
            raise WeightsError(f"two networks in the weights fit the model, under {names}; save one of them alone")
    _refuse_not_finite(chosen.renamed, {name for name, _ in model.named_parameters()})
    taken = _set_constants(model, chosen.reading.constants)
    with torch.no_grad():
        for name, tensor in expected.items():
            if name in chosen.renamed:
                tensor.copy_(chosen.renamed[name])
    return "; ".join(part for part in (*_describe_layout(chosen), taken) if part)


def _refuse_not_finite(state: dict[str, Tensor], parameters: set[str]) -> None:
    """Refuse weights of a training that diverged; buffers may hold infinities, such as masks."""
    real = {name: tensor for name, tensor in state.items() if tensor.is_floating_point() or tensor.is_complex()}
    infinite = [name for name, t in real.items() if t.isnan().any() or (t.isinf().any() and name in parameters)]
    if infinite:
        raise WeightsError(
            f"the weights are not finite: {len(infinite)} of {len(state)} tensors, the first is {infinite[0]} "
            f"({int((~real[infinite[0]].isfinite()).sum())} of its {real[infinite[0]].numel()} numbers); "
            "take a checkpoint from before the training diverged"
        )


def _describe_layout(chosen: Attempt) -> list[str]:
    below = f"the network under {chosen.reading.subtree!r} alone" if chosen.reading.subtree else ""
    if chosen.layout == OUR_NAMES:
        return [below]
    layout: Layout = LAYOUTS[chosen.layout]
    return [f"names of {layout.source}", below, layout.caution]


def _attempts(model: nn.Module, state: Mapping[str, Tensor], expected: dict[str, Tensor]) -> Iterator[Attempt]:
    family = getattr(model, "family", None)
    layouts = {name: layout for name, layout in LAYOUTS.items() if family is not None and layout.family == family}
    for reading in readings(strip_prefixes(state)):
        yield _compare(OUR_NAMES, reading, reading.state, expected)
        for name, layout in layouts.items():
            yield _compare(name, reading, layout.rename(reading.state), expected)


def _compare(layout: str, reading: Reading, renamed: dict[str, Tensor], expected: dict[str, Tensor]) -> Attempt:
    missing = [name for name in expected if name not in renamed and not name.endswith(COUNTER)]
    unexpected = [name for name in renamed if name not in expected]
    shaped = [name for name in expected if name in renamed and expected[name].shape != renamed[name].shape]
    return Attempt(layout, reading, renamed, missing, unexpected, shaped)


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _set_constants(model: nn.Module, constants: tuple[Tensor, Tensor] | None) -> str:
    """Give the model the constants of the file, unless the user named others; returns a sentence on it.

    Raises:
        WeightsError: the model has no normalisation, or the constants do not fit its images.
    """
    if constants is None:
        return ""
    normalize = find_normalize(model)
    mean, std = constants
    carried = f"the weights carry normalisation (mean {_numbers(mean)}, std {_numbers(std)})"
    if normalize is None:
        raise WeightsError(f"{carried} and the model has no place for it; save the network's state dict alone")
    if normalize.chosen:
        return f"{carried}, passed over for model.normalize"
    channels = normalize.mean.numel()
    if mean.numel() not in (1, channels):
        raise WeightsError(f"{carried} for {mean.numel()} channels, and the images have {channels}")
    try:
        check_constants(mean.tolist(), std.tolist())
    except ConfigError as error:
        raise WeightsError(f"the weights carry {error}; name them by --set model.normalize=MEAN/STD") from error
    normalize.set(mean, std)
    return f"{carried}, which is used"


def _numbers(tensor: Tensor) -> str:
    return ",".join(f"{value:.4g}" for value in tensor.tolist())


def _explain(model: nn.Module, state: Mapping[str, Tensor], expected: dict[str, Tensor], nearest: Attempt) -> str:
    """One line: what is missing, unexpected and mis-shaped under the nearest layout, and what to do about it."""
    problems = [
        f"{kind} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for kind, names in (("missing", nearest.missing), ("unexpected", nearest.unexpected))
        if names
    ]
    if nearest.shaped:
        first = nearest.shaped[0]
        more = f" and {len(nearest.shaped) - 1} more" if len(nearest.shaped) > 1 else ""
        shapes = f"{tuple(nearest.renamed[first].shape)}, expected {tuple(expected[first].shape)}"
        problems.append(f"shape of {first} {shapes}{more}")
    under = "" if nearest.layout == OUR_NAMES else f" (nearest: names of {nearest.layout})"
    advice = _advice(model, state, nearest)
    return f"the weights do not fit the model: {'; '.join(problems)}{under}{'; ' if advice else ''}{advice}"


def _advice(model: nn.Module, state: Mapping[str, Tensor], nearest: Attempt) -> str:
    other = _other_family(model, [*state, *nearest.reading.state])
    if other is not None:
        return f"these are the names of {other.source}, which loads with --model {other.models}"
    problems = [f"missing {name}" for name in nearest.missing] + [f"unexpected {name}" for name in nearest.unexpected]
    for pattern, advice in getattr(model, "advice", {}).items():
        if not nearest.shaped and all(re.match(pattern, problem) for problem in problems):
            return str(advice)
    return ""


def _other_family(model: nn.Module, names: list[str]) -> Layout | None:
    """The layout of another family that has these names, if one is recognised."""
    family = getattr(model, "family", None)
    return next((x for x in LAYOUTS.values() if x.mark and x.family != family and x.mark in names), None)
