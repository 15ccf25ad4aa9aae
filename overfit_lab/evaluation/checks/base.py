"""The protocol of checks, their findings, and the bench on which they run attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from overfit_lab.config import RunConfig
from overfit_lab.evaluation.attackers import AttackOptions, Source, make_attacker
from overfit_lab.evaluation.outcome import ROBUST, Outcome
from overfit_lab.probes.metrics.proportion import interval
from overfit_lab.probes.snapshot import Snapshot

Status = Literal["passed", "suspicious", "not run"]
Evaluate = Callable[[str, AttackOptions, Source | None], Outcome]
"""Runs an attack by its name on the bench's samples, or gives the outcome of an earlier run."""


@dataclass(frozen=True)
class Share:
    """A share of samples with its 95% interval."""

    name: str
    count: int
    n: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.count / self.n

    @property
    def bounds(self) -> tuple[float, float]:
        """Its exact 95% interval."""
        return interval(self.count, self.n)


@dataclass(frozen=True)
class Finding:
    """Result of one check. It is suspicious where the whole interval of its evidence lies above its limit.

    Args:
        expects: what holds of a model whose gradients can be trusted, in a few words.
        evidence: the share of samples that speaks against it; None where the check was not run.
        limit: what that share may be.
        text: the evidence in words, or why the check was not run.
        curve: accuracies over an abscissa, where the check draws one.
    """

    check: str
    expects: str
    evidence: Share | None
    limit: float
    text: str
    curve: tuple[tuple[float, Share], ...] = ()

    @property
    def status(self) -> Status:
        """``passed``, ``suspicious`` or ``not run``."""
        if self.evidence is None:
            return "not run"
        return "suspicious" if self.evidence.bounds[0] > self.limit else "passed"


@dataclass
class Bench:
    """The model, samples and attacks that a check works with.

    Args:
        snapshot: the model and its data.
        config: of the run: its threat model and the steps of its own evaluation.
        source: another model, for transfer.
        n_queries: forward passes of Square.
    """

    snapshot: Snapshot
    config: RunConfig
    evaluate: Evaluate
    split: str = "test"
    n: int | None = None
    source: Source | None = None
    n_queries: int = 1000
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, name: str = "pgd", *, source: Source | None = None, **options: object) -> Outcome:
        """The outcome of an attack on the bench's samples; each is run once."""
        asked = AttackOptions.model_validate(options)
        label = make_attacker(name, self.config, asked, source).label
        if label not in self.outcomes:
            self.outcomes[label] = self.evaluate(name, asked, source)
        return self.outcomes[label]

    @property
    def steps(self) -> int:
        """Steps of the run's own evaluation, 20 where it has none."""
        return self.config.evaluation.n_steps or 20

    @property
    def eps(self) -> float:
        """The run's radius; 8/255 where it is 0."""
        return self.config.attack.eps or 8 / 255

    def gradient_attacks(self) -> list[Outcome]:
        """The strongest gradient attacks: many restarts, and many steps, on cross entropy."""
        restarted = self.outcome(n_steps=self.steps, n_restarts=RESTARTS)
        return [restarted, self.outcome(n_steps=max(MANY_STEPS, self.steps))]


RESTARTS = 10
MANY_STEPS = 100


def broken(*outcomes: Outcome) -> np.ndarray:
    """Samples that are right on the clean image and that at least one of the attacks fooled (n,) bool."""
    is_broken = np.zeros(len(outcomes[0]), dtype=bool)
    for outcome in outcomes:
        is_broken |= outcome.broken_by > ROBUST
    return is_broken


def only_by(name: str, attacks: list[Outcome], others: list[Outcome]) -> Share:
    """Share of all samples that ``attacks`` fool and ``others`` do not."""
    return Share(name, int((broken(*attacks) & ~broken(*others)).sum()), len(attacks[0]))


def right(name: str, outcome: Outcome) -> Share:
    """Share of samples that are right under an attack."""
    return Share(name, int(outcome.robust.sum()), len(outcome))


def finding(check: str, expects: str, evidence: Share, limit: float, *, detail: str = "") -> Finding:
    """A finding whose text names evidence and limit, and ``detail`` if given."""
    text = f"{evidence.name}: {points(evidence)}, limit {limit:.0%}"
    return Finding(check, expects, evidence, limit, f"{text}; {detail}" if detail else text)


def points(share: Share) -> str:
    """A share for a sentence: ``3.5% (1.2 to 7.7)``."""
    low, high = share.bounds
    return f"{share.value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def worst_case(outcomes: Mapping[str, Outcome]) -> Share:
    """Share that is right under every one of some attacks."""
    attacks = list(outcomes.values())
    robust = np.logical_and.reduce([outcome.robust for outcome in attacks])
    return Share("worst case", int(robust.sum()), len(attacks[0]))
