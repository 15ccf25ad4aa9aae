"""The folded network of a model: made once, refreshed at every call, and tried against the model again and again."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from overfit_lab.models.compute.agreement import agree
from overfit_lab.models.compute.folding import FoldedModel, is_listened_to
from overfit_lab.models.compute.forms import form_of
from overfit_lab.models.isolation import isolated
from overfit_lab.models.remembered import remembered

CHECKED_EVERY = 256
MOST_MADE, MOST_FORMS = 16, 4


@dataclass
class _Entry:
    """The folded network of one form of a model, None where there is none, and how often it was asked for."""

    twin: FoldedModel | None
    n_calls: int = 0


@dataclass
class _Forms:
    """The latest forms of a model with what was made of them, and how often something was made."""

    entries: dict[tuple[object, ...], _Entry] = field(default_factory=dict)
    n_made: int = 0


_forms: weakref.WeakKeyDictionary[nn.Module, _Forms] = remembered()
"""Beside the models, by weak reference: attacks and metrics that know nothing of each other share one network of a
model, compiled or not, and a model that is somebody else's carries nothing of ours when it is copied or saved."""


def folded(model: nn.Module, x: Tensor) -> FoldedModel | None:
    """The folded network of a model with its present weights, or None where there is none that agrees with it.

    It is made at the first call and kept as long as the model lives and its modules, their hooks and their switches
    (attributes that are plain numbers, truth values or text) stay the same; of one that changes again and again there
    is none. Making it includes a comparison with the plain network, of logits and input gradients on two images, and
    so does every 256th call after it; a network that does not agree is not used again.

    Under autocast to bfloat16 its weights are held in bfloat16 and activations stay in it; a network that cannot be
    followed so is folded in float32, and autocast does the rest.

    Args:
        model: any module from images to logits; looked at in eval mode, left as it was.
        x: images (B, C, H, W) such as will be asked about.

    Cost: a pass over the parameters; the first time also a trace of the model and the comparison.
    """
    dtype = _autocast_to(x.device.type)
    form = (form_of(model), x.shape[1:], x.dtype, x.device, dtype)
    forms = _forms.setdefault(model, _Forms())
    if form not in forms.entries:
        # A model whose form never settles would be traced at every call; after so many it is left alone.
        forms.entries[form] = _Entry(_make(model, x, dtype) if forms.n_made < MOST_MADE else None)
        forms.n_made += 1
        while len(forms.entries) > MOST_FORMS:
            del forms.entries[next(iter(forms.entries))]
    entry = forms.entries[form]
    if entry.twin is None:
        return None
    # The weights move between two calls: an optimiser's step, weight averaging, a checkpoint that was loaded.
    twin = entry.twin.refresh(model)
    # The form cannot show all that a forward pass may depend on (a global, the time), so agreement is tried again.
    if entry.n_calls % CHECKED_EVERY == 0 and not _agrees_now(model, twin, x[:2]):
        entry.twin = None
    entry.n_calls += 1
    return entry.twin


def _autocast_to(device: str) -> torch.dtype | None:
    """The type that products are computed in under autocast; None without it, as on devices that know none."""
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if enabled else None


def _make(model: nn.Module, x: Tensor, dtype: torch.dtype | None) -> FoldedModel | None:
    if is_listened_to(model):  # asked before isolation, which silences hooks on gradients
        return None
    with isolated(model):
        if dtype == torch.bfloat16:
            try:
                twin = FoldedModel(model).to(memory_format=torch.channels_last).narrow(x, dtype)
                if agree(model, twin, x[:2]):
                    twin.fit_cache(x)
                    return twin
            except Exception:  # whatever of a network cannot be followed: autocast does what it can
                pass
        try:
            twin = FoldedModel(model).to(memory_format=torch.channels_last)
            twin.fit_cache(x)
            return twin
        except Exception:  # whatever of a network cannot be followed: it then computes as it is
            return None


def _agrees_now(model: nn.Module, twin: FoldedModel, x: Tensor) -> bool:
    with isolated(model):
        try:
            return agree(model, twin, x)
        except Exception:  # such as a view of what lies in memory in another order there
            return False
