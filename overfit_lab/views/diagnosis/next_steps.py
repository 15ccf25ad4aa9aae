"""What to try next, from all the findings together."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.records.naming import UNKNOWN, method_title
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.cures import is_baseline
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.readings import is_monitored
from overfit_lab.views.diagnosis.subject import settings_of, subjects_of
from overfit_lab.views.diagnosis.words import Numbers, listed

MOST_ADVICE = 6
"""Pieces of advice that are given; the first findings come first."""
LEAST_SEEDS = 3
"""Seeds below which more of them are advised."""
CURES = (
    "`overfit-lab train RUN/config.yaml --set labels.name=sglr --out NEW`",
    "`overfit-lab train RUN/config.yaml --set 'regularizers=[awp]' --out NEW`",
    "`overfit-lab train RUN/config.yaml --set 'regularizers=[early-stopping]' --set data.n_val={n_val} --out NEW`",
)
"""SGLR, AWP and early stopping on a validation split, with the run's own configuration."""
ELSEWHERE = (
    "softened labels such as SGLR's (overfit_lab.methods.labels.sglr)",
    "adversarial weight perturbation (overfit_lab.methods.regularizers.awp)",
    "early stopping on a validation split",
)
"""The same where another loop trains, which no command of ours can start."""
HELD_OUT = 0.1
"""Share of the training samples that early stopping is advised to hold out."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding:
    """Yes where there is something to try: cures that were not tried, what was not measured, more seeds."""
    parts = subjects_of(subject.runs)
    advice = [*_cures(parts, before), *_advice(before), *_probes(parts, before), *_seeds(parts)]
    if not advice:
        return Finding("next", subject.name, "no", "Nothing is missing that these records could tell of.")
    numbers = Numbers()
    count = min(len(advice), MOST_ADVICE)
    text = f"{numbers.plain('n_advice', count)} thing{'s' if count > 1 else ''} to try next: "
    text += " ".join(f"({i}) {part}" for i, part in enumerate(advice[:MOST_ADVICE], start=1))
    return Finding("next", subject.name, "yes", text, numbers, advice="\n".join(advice[:MOST_ADVICE]))


def _cures(parts: Sequence[Subject], before: Sequence[Finding]) -> list[str]:
    """Cures for overfitting baselines beside which no other method was trained."""
    sick = {finding.subject for finding in before if finding.name == "onset" and finding.verdict == "yes"}
    names, least, monitored = [], [], False
    for setting in settings_of(parts):
        members = subjects_of(setting.runs)
        if any(
            not is_baseline(member.runs[0]) and method_title(member.runs[0].config) != UNKNOWN for member in members
        ):
            continue
        sick_parts = [part for part in parts if part.name in sick and part.runs[0] in setting.runs]
        names += [part.name for part in sick_parts]
        least += [_held_out(part.runs[0]) for part in sick_parts]
        monitored |= any(is_monitored(part.runs[0]) for part in sick_parts)
    if not names:
        return []
    commands = ", ".join(ELSEWHERE if monitored else CURES).format(n_val=min(least))
    verb = "overfits" if len(names) == 1 else "overfit"
    return [f"{_some(names)}: {verb} and no cure was tried; {commands}."]


def _held_out(run: Run) -> int:
    return max(1, int(HELD_OUT * run.sizes.get("train", run.config.data.n_train or 10_000)))


def _advice(before: Sequence[Finding]) -> list[str]:
    """The advice of findings, each piece once with its subjects."""
    about: dict[str, list[str]] = {}
    for finding in before:
        if finding.advice:
            about.setdefault(finding.advice, []).append(finding.subject)
    return [f"{_some(names)}: {advice[:1].lower()}{advice[1:]}" for advice, names in about.items()]


def _probes(parts: Sequence[Subject], before: Sequence[Finding]) -> list[str]:
    """One command for all metrics that a subject lacks."""
    lacking: dict[str, dict[str, None]] = {}  # of each subject its metrics, each once and in order
    for finding in before:
        if finding.metric:
            lacking.setdefault(finding.subject, {})[finding.metric] = None
    about: dict[str, list[str]] = {}
    for subject, metrics in lacking.items():
        about.setdefault(",".join(metrics), []).append(subject)
    monitored = {part.name for part in parts if is_monitored(part.runs[0])}
    advice = []
    for joined, names in about.items():
        command = f"`overfit-lab probe RUN --metric {joined} --checkpoint all`"
        means = "among the monitor's probes" if monitored & set(names) else command
        advice.append(f"{_some(names)}: record {joined.replace(',', ', ')} at more epochs; {means}.")
    return advice


def _seeds(parts: Sequence[Subject]) -> list[str]:
    trained = [part for part in parts if not all(run.is_imported for run in part.runs)]
    few = [part.name for part in trained if len(part.runs) < LEAST_SEEDS]
    if not few:
        return []
    monitored = any(is_monitored(part.runs[0]) for part in trained)
    command = "train with other seeds" if monitored else f"`overfit-lab train RUN/config.yaml --seeds {LEAST_SEEDS}`"
    return [f"{_some(few)}: fewer than {LEAST_SEEDS} seeds, so nothing can be said about others; {command}."]


def _some(names: Sequence[str]) -> str:
    """At most three names, and how many more there are."""
    shown = list(names[:3])
    return listed(shown) if len(names) <= 3 else f"{', '.join(shown)} and {len(names) - 3} more"


REGISTER = {"next": Question(find, place=0, over="all")}
