"""How many samples are worked on at once where more would only cost memory."""

from __future__ import annotations

import torch


def samples_at_once(device: torch.device) -> int:
    """16 on a CPU, so that a layer's patches stay in its cache; 128 elsewhere, to keep an accelerator busy."""
    return 16 if device.type == "cpu" else 128


def images_per_pass(device: torch.device, most: int) -> int:
    """At most 64 on a CPU, which is fastest there, and as many as allowed elsewhere."""
    return min(64, most) if device.type == "cpu" else most
