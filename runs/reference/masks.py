"""A network that masks its gradients on purpose, in two ways, for the picture in docs/evaluation.md.

`python runs/reference/masks.py` takes the final weights of `digits-hard-seed0` as `evaluate.py` left them in
`runs/reference-work`, puts a mask around the network, and runs every check. Records go to `studies/masking`, the
picture of all three to docs/images.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from overfit_lab.cli.main import run
from overfit_lab.models.mlp import MLP
from overfit_lab.models.spec import ModelSpec
from overfit_lab.models.weights import load_weights

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "reference-work" / "digits-hard-seed0" / "checkpoints" / "last.safetensors"
SETTINGS = ("data.n_train=500", "data.n_test=797", "attack.eps=0.1", "attack.step_size=0.025", "attack.n_steps=7")


class Masked(nn.Module):
    """A network with something before and after it.

    Args:
        inner: the network.
        before: of the images.
        after: of the logits.
    """

    def __init__(self, inner: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) to logits (B, 10)."""
        logits: Tensor = self.after(self.inner(self.before(x)))
        return logits


def same(values: Tensor) -> Tensor:
    """Nothing changed."""
    return values


def network(n_classes: int, data: dict[str, Any]) -> nn.Module:
    """The network of the reference run."""
    return MLP(ModelSpec(n_classes, data["shape"], data["mean"], data["std"]))


def honest(n_classes: int, **data: Any) -> nn.Module:
    """The network as it is."""
    return Masked(network(n_classes, data), same, same)


def scaled_logits(n_classes: int, **data: Any) -> nn.Module:
    """Logits so large that the softmax saturates in float32."""
    return Masked(network(n_classes, data), same, lambda logits: 1e4 * logits)


def rounded_pixels(n_classes: int, **data: Any) -> nn.Module:
    """Pixels rounded to eighths, which has no gradient."""
    return Masked(network(n_classes, data), lambda x: torch.round(8 * x) / 8, same)


def main() -> int:
    """Check the three."""
    sys.path.append(str(HERE))
    weights = WEIGHTS.with_name("for-masks.safetensors")
    save_file({f"inner.{name}": tensor.contiguous() for name, tensor in load_weights(WEIGHTS).items()}, weights)
    status, folders = 0, []
    for name in (honest, scaled_logits, rounded_pixels):
        folder = HERE / "studies" / "masking" / name.__name__.replace("_", "-")
        sets = [part for setting in SETTINGS for part in ("--set", setting)]
        model = ["--model", f"masks:{name.__name__}", "--data", "digits", "--device", "cpu"]
        status |= run(["check", str(weights), *model, *sets, "--out", str(folder)])
        shutil.rmtree(folder / "evaluations")  # the curves and shares are in the records; some fifty files less
        (folder / "masking.png").unlink()
        folders.append(str(folder))
    picture = HERE.parents[1] / "docs" / "images" / "masking-examples.png"
    return status or run(["figure", "masking", *folders, "--out", str(picture)])


if __name__ == "__main__":
    sys.exit(main())
