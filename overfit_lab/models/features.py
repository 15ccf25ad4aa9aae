"""Penultimate features: the input of the last linear layer, named by the model and never guessed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.types import widened


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module of a name.

    Raises:
        ConfigError: the model has no such module; the message lists the nearest.
    """
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        raise unknown_name("layer", layer, [name for name in modules if name])
    return modules[layer]


@torch.no_grad()
def penultimate_features(model: nn.Module, x: Tensor, layer: str, batch_size: int = 256) -> Tensor:
    """The input of the layer ``layer`` for each image, flattened (n, D).

    Args:
        model: in the mode in which it is measured.
        x: images in [0, 1] (n, C, H, W).
        layer: name of the last linear layer, such as ``"linear"``.

    Raises:
        ConfigError: no such layer, or the layer is not used exactly once in a forward pass.

    Cost: n forward passes.
    """
    caught: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(widened(inputs[0].detach()).flatten(1).clone())

    handle = find_layer(model, layer).register_forward_pre_hook(keep)
    features = []
    try:
        for part in x.split(batch_size):
            caught.clear()
            model(part)
            if len(caught) != 1:
                raise ConfigError(f"layer {layer!r} is used {len(caught)} times in a forward pass, expected once")
            features.append(caught[0])
    finally:
        handle.remove()
    return torch.cat(features)
