"""CLP: clean logit pairing (Kannan et al. 2018, arXiv 1803.06373)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from overfit_lab.methods.objectives.losses import target_loss
from overfit_lab.methods.objectives.noisy_images import NoisyImages, NoisyImagesOptions
from overfit_lab.types import Outputs, Targets


class ClpOptions(NoisyImagesOptions):
    """Options of clean logit pairing."""

    b: float = Field(0.05, ge=0, description="weight of the squared distance between the logits of a pair")


class Clp(NoisyImages):
    """CE(z, t) + b ||z(x~_1) - z(x~_2)||^2 on images with normal noise; no attack.

    Pairs are two random images of whatever class: the i-th of the first half of a shuffled batch with the i-th of the
    second half, the mean over pairs; an image without a partner is in no pair. Mosbach et al. (2018, arXiv
    1810.12042) show that it can mask gradients: check its robustness by strong attacks.
    """

    Options = ClpOptions
    options: ClpOptions
    pairs_samples = True

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch, and over its pairs."""
        logits = outputs.main
        n_pairs = len(logits) // 2
        gaps = logits[:n_pairs] - logits[n_pairs : 2 * n_pairs]
        pairing = gaps.square().sum() / max(n_pairs, 1)
        return target_loss(logits, targets).mean() + self.options.b * pairing


REGISTER = {"clp": Clp}
