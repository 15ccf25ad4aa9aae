"""All checks together, their verdict, and how they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.evaluation.checks.base import Bench, Finding, Share, points, right, worst_case
from overfit_lab.types import Measurement, Value

PROBE = "masking"
"""Name under which the checks' numbers are recorded."""


@dataclass(frozen=True)
class Report:
    """The findings of all checks, and the shares right under all attacks of the run's threat model and by its own."""

    findings: tuple[Finding, ...]
    worst: Share
    run_evaluation: Share
    split: str

    @property
    def suspicious(self) -> tuple[Finding, ...]:
        """The findings that speak against the evaluation."""
        return tuple(finding for finding in self.findings if finding.status == "suspicious")

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        n_passed = sum(finding.status == "passed" for finding in self.findings)
        not_run = [finding.check for finding in self.findings if finding.status == "not run"]
        rest = f", {', '.join(not_run)} not run" if not_run else ""
        bound = f"Robust accuracy is at most {points(self.worst)} under all attacks run here, "
        bound += f"{points(self.run_evaluation)} by the evaluation's own."
        if not self.suspicious:
            return f"No sign of masked gradients: {n_passed} checks passed{rest}. {bound}"
        names = ", ".join(finding.check for finding in self.suspicious)
        return (
            f"Suspicious: {names} ({len(self.suspicious)} of {n_passed + len(self.suspicious)} checks{rest}). Do not "
            f"trust gradient attacks on this model. {bound}"
        )

    def measurement(self) -> Measurement:
        """The findings as numbers, and as arrays for the picture."""
        values = [
            _value("worst", self.worst, self.split),
            _value("own", self.run_evaluation, self.split),
            Value("suspicious", float(len(self.suspicious)), self.split, "adversarial", "given", self.worst.n),
        ]
        arrays: dict[str, np.ndarray] = {}
        for finding in self.findings:
            if finding.evidence is not None:
                values.append(_value(f"evidence/{finding.check}", finding.evidence, self.split))
                share = finding.evidence
                arrays[f"evidence-{finding.check}"] = np.array([share.value, *share.bounds, finding.limit, share.n])
            if finding.curve:
                rows = [(x, share.value, *share.bounds, share.n) for x, share in finding.curve]
                arrays[f"curve-{finding.check}"] = np.array(rows)
        return Measurement(values, arrays)


def _value(field: str, share: Share, split: str) -> Value:
    error = float(np.sqrt(share.value * (1 - share.value) / share.n))
    return Value(field, share.value, split, "adversarial", "given", share.n, error)


def run_checks(
    bench: Bench,
    checks: Sequence[tuple[str, Callable[[Bench], Finding]]],
    on_check: Callable[[str, int], None] | None = None,
) -> Report:
    """Run checks one after the other; they share the outcomes of their attacks.

    ``on_check`` is called with the name of each check and its number before it runs.

    Cost: some 1,000 forward and backward passes with the default checks, and ``bench.n_queries`` forward passes.
    """
    findings = []
    run_outcome = bench.outcome(n_steps=bench.steps)
    for number, (name, check) in enumerate(checks):
        if on_check is not None:
            on_check(name, number)
        findings.append(check(bench))
    within = {label: outcome for label, outcome in bench.outcomes.items() if _same_threat(bench, outcome.settings)}
    return Report(tuple(findings), worst_case(within), right("own evaluation", run_outcome), bench.split)


def _same_threat(bench: Bench, settings: dict[str, object]) -> bool:
    attack = bench.config.attack
    eps = settings["eps"]
    assert isinstance(eps, float)
    return settings["norm"] == attack.norm and abs(eps - attack.eps) < 1e-12
