"""Normal noise on the images before the attack."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from overfit_lab import config
from overfit_lab.methods.objectives.base import add_noise
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.seeds import derive_generator
from overfit_lab.types import Batch, Clock


class GaussianNoiseOptions(config.Options):
    """Options of the noise."""

    std: float = Field(0.06, ge=0, description="standard deviation, in [0,1] pixels")


class GaussianNoise(Regularizer):
    """x + N(0, std^2), kept in [0, 1]: augmentation with normal noise (Bishop 1995), before the attack."""

    Options = GaussianNoiseOptions
    options: GaussianNoiseOptions

    def batch(self, batch: Batch, clock: Clock) -> Batch:
        """Noisy images."""
        stream = derive_generator(self.context.seed, "gaussian-noise", clock.step, device=batch.x.device)
        return replace(batch, x=add_noise(batch.x, self.options.std, stream))


REGISTER = {"gaussian-noise": GaussianNoise}
