"""What the diagnosis says of the committed runs is what their tables say."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.probes.metrics.phases import Phases
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.diagnosis import onset
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.diagnosis.phases_of import onset_in, phases_of
from overfit_lab.views.diagnosis.subject import subjects_of

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"


@lru_cache
def runs_of(name):
    return tuple(Run.open(folder) for folder in sorted(REFERENCE.glob(f"{name}-seed*")))


@lru_cache
def found_of(*names):
    found = diagnose([run for name in names for run in runs_of(name)])
    return {(finding.subject, finding.name): finding for finding in found.findings}


@pytest.mark.parametrize("name", ["cifar10-small-hard", "digits-hard"])
def test_hard_labels_overfit_from_the_peak_of_robust_test_accuracy_on(name):
    """Within two epochs of the best one, each seed by itself and all together."""
    for run in runs_of(name):
        best = best_epoch(run).epoch
        assert abs(onset_in(run) - best) <= 2
    (subject,) = subjects_of(runs_of(name))
    found = onset.find(subject, ())
    bests = sorted(best_epoch(run).epoch for run in runs_of(name))
    assert (found.verdict, found.numbers["n_overfit"]) == ("yes", 3)
    assert abs(found.numbers["onset"] - bests[1]) <= 2
    assert found.numbers["onset_low"] <= bests[1] <= found.numbers["onset_high"]


@pytest.mark.parametrize("name", ["cifar10-small-sglr", "digits-sglr"])
def test_sglr_is_found_not_to_overfit(name):
    (subject,) = subjects_of(runs_of(name))
    found = onset.find(subject, ())
    assert found.verdict == "no"
    assert found.numbers["drop_high"] < 0.01
    assert found.numbers["drop_low"] == 0


def test_the_phases_are_those_of_the_probe():
    found = phases_of(runs_of("cifar10-small-hard")[0])
    assert isinstance(found, Phases)
    assert found.verdict == "robust overfitting"
    assert 14 <= found.onset.epoch <= 22
    assert found.decay_epoch == 8


def test_what_goes_with_overfitting_on_cifar10_and_which_cure_helped():
    found = found_of("cifar10-small-hard", "cifar10-small-smooth", "cifar10-small-sglr")
    hard = {name: finding for (subject, name), finding in found.items() if subject == "cifar10-small-hard"}
    for name in ("onset", "drop", "memorisation", "gradient-norm", "iiw", "sharpness", "overconfidence", "evaluation"):
        assert hard[name].verdict == "yes", name
    assert 100 * hard["drop"].numbers["raw"] == pytest.approx(9.3, abs=0.05)
    assert 100 * hard["drop"].numbers["spread"] == pytest.approx(1.4, abs=0.05)
    assert hard["drop"].numbers["drop"] < hard["drop"].numbers["raw"]
    assert hard["drop"].numbers["drop"] == hard["onset"].numbers["drop"]
    assert hard["overconfidence"].numbers["ece"] == pytest.approx(0.392, abs=0.0005)
    sglr = {name: finding for (subject, name), finding in found.items() if subject == "cifar10-small-sglr"}
    for name in ("onset", "drop", "memorisation", "gradient-norm", "iiw", "sharpness", "overconfidence"):
        assert sglr[name].verdict == "no", name
    (cures,) = [finding for (_, name), finding in found.items() if name == "cures"]
    assert cures.verdict == "yes"
    assert "less/cifar10-small-sglr" in cures.numbers
    assert "less/cifar10-small-smooth" not in cures.numbers


def test_every_figure_that_a_finding_names_is_registered():
    everything = (*found_of("cifar10-small-hard", "cifar10-small-smooth", "cifar10-small-sglr").values(),)
    everything += tuple(found_of("digits-hard", "digits-sglr").values())
    named = {finding.figure for finding in everything} - {None}
    assert {"onset", "fig1", "fig4", "methods"} <= named
    assert named <= set(FIGURES)


@pytest.mark.parametrize("names", [("cifar10-small-hard", "cifar10-small-smooth", "cifar10-small-sglr")])
def test_numbers_stand_in_their_sentences(names):
    for finding in found_of(*names).values():
        tokens = [token.replace(",", "") for token in re.findall(r"-?\d[\d,]*(?:\.\d+)?", finding.sentence)]
        for name, value in finding.numbers.items():
            near = (
                abs(round(scale * value, len(token.partition(".")[2])) - float(token)) < 1e-9
                for token in tokens
                for scale in (1, 100)
            )
            assert any(near), (finding.name, name, value)
