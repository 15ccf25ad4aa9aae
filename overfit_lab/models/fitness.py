"""Whether a network is one whose numbers mean something: a function of each image alone."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from overfit_lab.errors import ProbeError
from overfit_lab.models.compute.agreement import LOGITS_WITHIN, is_samplewise
from overfit_lab.models.compute.verdicts import Verdicts
from overfit_lab.models.isolation import isolated

TRIED_EVERY = 16
SUM_WITHIN = 1e-4
PROBABILITIES = (
    "the network gives probabilities, as one that ends in a softmax; losses, attacks and probes take them for logits, "
    "so train and measure it without its last layer"
)
_reasons: Verdicts[str] = Verdicts(TRIED_EVERY)


def refuse_unfit(model: nn.Module, x: Tensor) -> None:
    """Refuse a network that in eval mode is no function of each image alone.

    Args:
        model: maps images to logits; left as it was.
        x: images in [0, 1] (B, C, H, W); the first is tried.

    Raises:
        ProbeError: it writes into its images, answers the same image differently the next time, or looks at the other
            images of the batch.

    Cost: some ten forward passes of an image; once a model.
    """
    with isolated(model):
        reason = _reasons.of(model, (x.shape[1:], x.dtype, x.device), partial(_unfit, model, x[:1].detach()))
    if reason:
        raise ProbeError(reason)


@torch.no_grad()
def gives_probabilities(model: nn.Module, x: Tensor) -> bool:
    """Whether the outputs on some images are rows of probabilities, which logits are by accident only.

    Args:
        model: left as it was.
        x: images in [0, 1] (B, C, H, W).
    """
    with isolated(model):
        outputs = model(x).float()
    sums = outputs.sum(dim=1)
    return bool(outputs.shape[1] > 1 and (outputs >= 0).all() and ((sums - 1).abs() < SUM_WITHIN).all())


@torch.no_grad()
def not_finite_weights(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold NaN or infinity. Cost: a pass over them, one synchronisation."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    floats = {name: t for name, t in tensors.items() if t.is_floating_point() and t.numel() and not t.is_meta}
    finite = [torch.isfinite(t).all() for t in floats.values()]
    if not finite:
        return []
    seen = torch.stack([one.to(finite[0].device) for one in finite]).tolist()
    return [name for name, fine in zip(floats, seen, strict=True) if not fine]


@torch.no_grad()
def _unfit(model: nn.Module, image: Tensor) -> str:
    """Why a network is none; "" where it is one."""
    shown = image.clone()
    logits = model(shown)
    if not torch.equal(shown, image):
        return "it writes into the images that it is given; begin its forward pass with x.clone()"
    scale = logits.abs().max()
    others = [model(image.clone()) for _ in range(3)]
    if logits.isfinite().all() and any((other - logits).abs().max() > LOGITS_WITHIN * scale for other in others):
        return "it answers the same image differently at each call, in eval mode too"
    if is_samplewise(model, image) is False:
        return "a sample's logits depend on the others of its batch"
    return ""
