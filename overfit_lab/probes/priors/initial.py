"""The weights that training started from as prior."""

from __future__ import annotations

from overfit_lab.errors import ProbeError
from overfit_lab.probes.metrics.directional import check_direction
from overfit_lab.probes.priors.base import Prior
from overfit_lab.probes.priors.store import Weights
from overfit_lab.probes.snapshot import Snapshot


class InitialPrior(Prior):
    """The snapshot's reference: the run's initial weights, or those of ``--reference FILE``. It needs no data."""

    suffix = ""

    def check(self, snapshot: Snapshot) -> None:
        """The reference is known and fits the model."""
        if not snapshot.reference:
            raise ProbeError("iiw: needs the weights it starts from (theta_0); give a run folder, or --reference FILE")
        check_direction(snapshot.model, snapshot.reference)
        lacking = [n for n, p in snapshot.model.named_parameters() if p.requires_grad and n not in snapshot.reference]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise ProbeError(f"iiw: the reference lacks {lacking[0]!r}{more}; it needs every trainable parameter")

    def make(self, snapshot: Snapshot) -> Weights:
        """The reference itself."""
        return snapshot.reference or {}

    def weights(self, snapshot: Snapshot) -> Weights:
        """The reference as it is now; nothing is kept."""
        return self.make(snapshot)


REGISTER = {"initial": InitialPrior}
