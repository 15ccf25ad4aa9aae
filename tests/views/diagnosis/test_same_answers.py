"""What the probe ``phases`` records of a run and what a diagnosis says of it are the same numbers."""

import html
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factories import make_snapshot
from overfit_lab.probes.base import ProbeOptions
from overfit_lab.probes.metrics.phases import phases
from overfit_lab.probes.phases import PhasesProbe
from overfit_lab.records.history import FolderHistory
from overfit_lab.records.naming import attack_title, evaluation_attack
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.diagnosis.evaluation import find
from overfit_lab.views.diagnosis.finding import Subject
from overfit_lab.views.diagnosis.gradient_norm import WATCHED
from overfit_lab.views.diagnosis.grown import growth_in
from overfit_lab.views.diagnosis.phases_of import counting_from, phases_of
from overfit_lab.views.diagnosis.readings import evaluations_of, first_with
from overfit_lab.views.figures import onset
from overfit_lab.views.figures.caption import attack_name
from overfit_lab.views.figures.onset import in_words
from overfit_lab.views.live.alarm import Alarm
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.view import view_of
from overfit_lab.views.report.page import make_report
from overfit_lab.views.tables.readings import RUN_ATTACK, attack_titles
from run_factory import make_run

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"


@pytest.mark.parametrize("name", ["digits-hard-seed0", "digits-sglr-seed0", "cifar10-small-hard-seed0"])
def test_the_probe_and_the_diagnosis_give_the_same_verdict_and_growth(name):
    """On one series the growth of the gradient norm was once 2.86 to the probe and 3.57 to the diagnosis."""
    run = Run.open(REFERENCE / name)
    snapshot = make_snapshot()
    snapshot = replace(snapshot, history=FolderHistory(run.folder, run.config.epochs + 1))
    measured = PhasesProbe(ProbeOptions(splits=("test",))).measure(snapshot, generator=torch.Generator().manual_seed(7))
    numbers = {value.field: value for value in measured.values}
    found = phases_of(run)
    assert numbers["overfits"].value == pytest.approx(found.overfits, nan_ok=True)
    assert numbers["drop_p"].value == found.drop.p
    assert (numbers["drop"].value, numbers["drop_low"].value, numbers["drop_high"].value) == (
        found.drop.value,
        found.drop.low,
        found.drop.high,
    )
    assert numbers["gap_growth"].value == found.gap.value
    assert ("onset_p" in numbers) == (found.onset is not None)
    grown = growth_in(run, first_with([run], WATCHED.sources))
    assert (numbers["growth_ratio"].value, numbers["growth_ratio"].stderr) == pytest.approx(grown.ratio, rel=1e-12)


NAMES = [
    "digits-hard-seed0",
    "digits-sglr-seed1",
    "digits-smooth-seed2",
    "digits-standard-seed1",
    "cifar10-small-hard-seed1",
    "cifar10-small-sglr-seed0",
    "cifar10-small-cosine-seed1",
]


@pytest.mark.parametrize("name", NAMES)
def test_probe_diagnosis_figure_and_watch_have_one_verdict(name):
    """A report once said "not enough evidence", "no overfitting" and "loss: yes" of one run."""
    run = Run.open(REFERENCE / name)
    found = phases_of(run)
    said = {"none": "no", "not enough evidence": "not enough evidence"}.get(found.verdict, "yes")
    answers = {part.name: part for part in diagnose([run]).findings}
    assert answers["onset"].verdict == said
    inputs = evaluations_of(run).inputs
    field = "acc_adv" if inputs == "adversarial" else "acc_clean"
    snapshot = replace(make_snapshot(), history=FolderHistory(run.folder, run.config.epochs + 1))
    options = ProbeOptions(splits=("test",), inputs=(inputs,))
    numbers = {
        value.field: value.value
        for value in PhasesProbe(options).measure(snapshot, generator=torch.Generator().manual_seed(7)).values
    }
    assert len(run.series("evaluation", field, "test", inputs)) == len(evaluations_of(run).epochs)
    assert numbers["overfits"] == pytest.approx(found.overfits, nan_ok=True)
    assert (numbers["drop"], numbers["drop_low"]) == (found.drop.value, found.drop.low)
    followed = Followed(run.folder)
    followed.look()
    quiet = Last()
    view = view_of(followed, quiet, followed.changed)
    assert view.phases == found
    for finding in ("onset", "drop"):
        kept = answers[finding].numbers
        assert (kept["drop"], kept["drop_low"], kept["drop_high"]) == (
            found.drop.value,
            found.drop.low,
            found.drop.high,
        )
    words = in_words(found)
    assert ("overfits" in words) == (said == "yes")
    assert ("no overfitting" in words) == (said == "no")
    assert ("cannot tell" in words) == (said == "not enough evidence")
    assert f"drops {100 * found.drop.value:.1f} [{100 * found.drop.low:.1f}, {100 * found.drop.high:.1f}]" in words
    assert not (said == "no" and answers["drop"].verdict == "yes" and found.gap.high >= 0.01)
    if said == "not enough evidence":
        assert answers["drop"].verdict != "yes" or found.gap.low <= 0
    if said == "yes":
        assert answers["drop"].verdict == "yes"


@pytest.mark.slow
def test_the_report_says_what_the_diagnosis_says_and_both_say_what_the_records_hold(tmp_path):
    """Of hard labels that overfit and of SGLR, which drops by one of a hundred test samples."""
    runs = [make_run(tmp_path / f"{labels}-seed0", labels, probes=False) for labels in ("hard", "sglr")]
    page = html.unescape(make_report(runs))
    for run in runs:
        found = phases_of(run)
        answers = {part.name: part for part in diagnose([run]).findings}
        said = {"none": "no", "not enough evidence": "not enough evidence"}.get(found.verdict, "yes")
        assert (answers["onset"].verdict, answers["drop"].verdict) == (said, said)
        for name in ("onset", "drop"):
            assert answers[name].sentence in page
    assert [phases_of(run).verdict for run in runs] == ["robust overfitting", "not enough evidence"]


class Last(Alarm):
    """An alarm that judges the last evaluation alone."""

    def look(self, epochs, train, test, decays, clean=None, n_test=None):
        self.phases = phases(epochs, train, test, decays=decays, clean=clean, n_test=n_test)
        return


@pytest.mark.parametrize(
    ("evaluation", "title"),
    [
        ({"n_steps": 20}, "PGD-20"),
        ({"n_steps": 50, "n_restarts": 5}, "PGD-50, 5 restarts"),
        ({"attack": "autoattack"}, "AutoAttack"),
        ({"attack": "theirs.attacks:Strong"}, "Strong"),
        ({"n_steps": 0}, "no attack"),
    ],
)
def test_the_attack_of_the_evaluation_has_one_name(tmp_path, evaluation, title):
    run = make_run(tmp_path / "r", probes=False, evaluation=evaluation)
    assert attack_title(evaluation_attack(run.config)) == title
    assert attack_name(run).startswith(title)
    if evaluation.get("n_steps") != 0:
        assert attack_titles(RUN_ATTACK, [run]) == [title]

        assert f"under {title} on" in find(Subject("r", (run,)), ()).sentence


def test_a_figure_counts_drops_from_where_it_is_told_to():
    run = Run.open(REFERENCE / "digits-hard-seed0")

    def title():
        return onset.draw([run]).axes[0].get_title(loc="left")

    usual = title()
    with counting_from(0.5):
        assert "no overfitting" in title()
    assert "overfits from epoch" in usual
    assert title() == usual
