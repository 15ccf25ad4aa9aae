"""Numbers of samples per pass, where more would only cost memory."""

from __future__ import annotations

import torch


def samples_at_once(device: torch.device) -> int:
    """Samples whose layers are measured together: 32 on a CPU, so that a layer's pieces stay in its cache."""
    return 32 if device.type == "cpu" else 128


def gradients_at_once(device: torch.device) -> int:
    """Samples whose gradients are formed together, each of them as large as the layer: 16 on a CPU, else 128."""
    return 16 if device.type == "cpu" else 128


def images_per_pass(device: torch.device, most: int) -> int:
    """At most 64 on a CPU, which is fastest there, and as many as allowed elsewhere."""
    return min(64, most) if device.type == "cpu" else most
