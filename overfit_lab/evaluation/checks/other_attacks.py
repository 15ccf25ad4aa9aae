"""Attacks that do not follow the same gradient are not stronger than those that do."""

from __future__ import annotations

from overfit_lab.evaluation.attackers import TRANSFER
from overfit_lab.evaluation.checks.base import RESTARTS, Bench, Finding, finding, only_by
from overfit_lab.methods.attacks import losses

BLACK_BOX = 0.02
"""Share that only an attack without gradients, or one made on another model, fools."""
LOSSES = 0.05
"""Share that only PGD on another loss fools. Some points are usual: cross entropy spends its effort also on samples
that are fooled already."""
RESTART = 0.03
"""Share that only further random starts fool."""


def square(bench: Bench) -> Finding:
    """Square, which sees no gradient, is not stronger than PGD (Carlini et al. 2019; Croce and Hein 2020)."""
    outcome = bench.outcome("square", n_queries=bench.n_queries)
    share = only_by("fooled by Square only", [outcome], bench.gradient_attacks())
    return finding("square", "Square is not stronger than PGD", share, BLACK_BOX)


def transfer(bench: Bench) -> Finding:
    """Images made on another model are not stronger than those made on this one (Mosbach et al. 2018)."""
    expects = "transfer is not stronger than white-box"
    if bench.source is None:
        why = "needs another model: --source RUN, RUN@CHECKPOINT or a weights file"
        return Finding("transfer", expects, None, BLACK_BOX, why)
    outcome = bench.outcome(TRANSFER, source=bench.source, n_steps=bench.steps)
    share = only_by(f"fooled by images made on {bench.source.name} only", [outcome], bench.gradient_attacks())
    return finding("transfer", expects, share, BLACK_BOX)


def other_losses(bench: Bench) -> Finding:
    """PGD on losses that do not saturate is not much stronger than on cross entropy (Mosbach et al. 2018).

    The difference of logits ratio has no scale, so a model with huge logits cannot hide behind a saturated softmax;
    it needs three classes.
    """
    names = [loss for loss in ("margin", "dlr") if bench.snapshot.n_classes >= losses.LOSSES[loss].least_classes]
    others = [bench.outcome(n_steps=bench.steps, loss=loss) for loss in names]
    titles = " or ".join("logits ratio" if loss == "dlr" else loss for loss in names)
    share = only_by(f"fooled by PGD on {titles} only", others, bench.gradient_attacks())
    return finding("other-losses", "another loss is not much stronger than cross entropy", share, LOSSES)


def restarts(bench: Bench) -> Finding:
    """Further random starts change little (Mosbach et al. 2018, Tab. 3)."""
    many = bench.outcome(n_steps=bench.steps, n_restarts=RESTARTS)
    share = only_by(f"fooled by {RESTARTS - 1} further starts only", [many], [bench.outcome(n_steps=bench.steps)])
    return finding("restarts", "restarts change little", share, RESTART)


REGISTER = {"restarts": restarts, "other-losses": other_losses, "square": square, "transfer": transfer}
