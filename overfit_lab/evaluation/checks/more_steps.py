"""More steps never help the defender, and the evaluation's own number of steps is enough."""

from __future__ import annotations

from dataclasses import replace

from overfit_lab.evaluation.checks.base import MANY_STEPS, Bench, Finding, Share, broken, finding, only_by, right

STEPS = (1, 2, 5, 10, 20, 50, MANY_STEPS)
RISE = 0.01
"""Rise of robust accuracy from fewer to more steps."""
LEFT = 0.03
"""Share of samples that many steps fool and the evaluation's own number does not."""


def more_steps(bench: Bench) -> Finding:
    """Robust accuracy over the number of PGD steps, from one random start (Carlini et al. 2019, section 5.6).

    A rise means that following the gradient leads away from the errors, so the gradient misleads.
    """
    counts = sorted({*STEPS, bench.steps})
    outcomes = [bench.outcome(n_steps=steps) for steps in counts]
    n_fooled = [int(broken(outcome).sum()) for outcome in outcomes]
    rise = max(n_fooled) - n_fooled[-1]
    worst = counts[n_fooled.index(max(n_fooled))]
    shares = [right(f"PGD-{steps}", outcome) for steps, outcome in zip(counts, outcomes, strict=True)]
    result = finding(
        "more-steps",
        "more steps never help the defender",
        Share(f"rise from {worst} to {counts[-1]} steps", rise, len(outcomes[-1])),
        RISE,
        detail=f"right after {counts[0]} step {shares[0].value:.1%}, after {counts[-1]} {shares[-1].value:.1%}",
    )
    return replace(result, curve=tuple(zip(map(float, counts), shares, strict=True)))


def converged(bench: Bench) -> Finding:
    """Whether many more steps fool samples that the evaluation's own number leaves right."""
    many = max(MANY_STEPS, bench.steps)
    share = only_by(f"fooled by PGD-{many} only", [bench.outcome(n_steps=many)], [bench.outcome(n_steps=bench.steps)])
    return finding("converged", f"{bench.steps} steps find what {many} find", share, LEFT)


REGISTER = {"more-steps": more_steps, "converged": converged}
