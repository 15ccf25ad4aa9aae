"""A linear rise: the usual schedule of eps."""

from __future__ import annotations

from pydantic import Field

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.schedules.base import Schedule


class RampOptions(config.Options):
    """Options of the ramp."""

    start: float = Field(0.0, ge=0, le=1, description="factor at the beginning")
    until: Moment = Field("50%", description="when it reaches 1")


class Ramp(Schedule):
    """From ``start`` linearly up to 1, then 1: eps grown over training (curriculum; Cai et al. 2018, 1805.04807)."""

    Options = RampOptions
    options: RampOptions

    def __init__(self, options: RampOptions, n_epochs: int) -> None:
        super().__init__(options, n_epochs)
        self.start = options.start
        self.until = resolve_moment(options.until, n_epochs)

    def refusal(self) -> str | None:
        """A rise that ends after the run."""
        n = self.n_epochs
        late = f"until = {self.options.until}: the run ends after {n} epochs, before the rise does"
        return f"{late}; give {n} or fewer, or a share" if self.until > n else None

    def factor(self, progress: float) -> float:
        """Linear up to 1."""
        share = min(progress / self.until, 1.0) if self.until else 1.0
        return self.start + (1 - self.start) * share


REGISTER = {"ramp": Ramp}
