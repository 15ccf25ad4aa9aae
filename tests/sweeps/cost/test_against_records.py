"""The cost model against the committed records, and the page on scaling against both."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overfit_lab.config.catalog import HARDWARE
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.sweeps.cost.workload import workload

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def page():
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("draw_scaling", DOCS / "draw_scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def errors(ratios):
    """Median and 90% quantile of the absolute logarithm of predicted over recorded, as factors."""
    return np.exp(np.quantile(np.abs(np.log(ratios)), [0.5, 0.9]))


@pytest.mark.slow
def test_runs_that_nothing_was_fitted_to_are_predicted(page):
    held_out = page.held_out()
    assert len(held_out) > 200
    median, most = errors(page.ratios(held_out))
    assert median < 1.15
    assert most < 1.35
    evaluated = [run for run in held_out if run.evaluation_seconds]
    ratios = [page.predicted(run.evaluation) / run.evaluation_seconds for run in evaluated]
    assert errors(ratios)[0] < 1.3


@pytest.mark.slow
def test_a_model_that_forgets_the_attack_fails(page):
    attacked = [run for run in page.held_out() if run.name.startswith(("digits-mart", "digits-te", "cifar10-small-"))]
    wrong = []
    for run in attacked:
        config = page.Run.open(page.RUNS / run.name).config
        data = DataShape(500, 0, 797, (1, 8, 8), 10) if "digits" in run.name else None
        data = data or DataShape(2000, 0, 1000, (3, 32, 32), 10)
        work = workload(config, data)
        assert work.training == run.work
        wrong.append(replace(run, work=work.parts["update"]))
    assert len(wrong) > 10
    assert errors(page.ratios(attacked))[1] < 1.4
    assert errors(page.ratios(wrong))[0] > 3


@pytest.mark.slow
def test_the_constants_are_those_of_the_fitted_runs(page):
    rate, op_seconds = page.constants()
    device = HARDWARE[page.PRECISE]
    assert device.rate("fp32") == pytest.approx(rate, rel=0.005)
    assert device.op_seconds == pytest.approx(op_seconds, rel=0.005)
    assert sum(page.is_fitted(run) for run in page.observed()) == 6


@pytest.mark.slow
def test_the_page_is_what_records_and_model_say(page):
    assert (DOCS / "scaling.md").read_text() == page.render(), "run `python docs/draw_scaling.py`"


@pytest.mark.slow
def test_what_the_readme_says_is_what_the_page_says(page):
    text = " ".join((DOCS.parent / "README.md").read_text().split())
    assert f"{page.within(1.25)} of {len(page.held_out())} held-out runs are predicted within a factor of 1.25" in text
    rows = json.loads(page.MEASURED.read_text())["rows"]
    most = max(row["speedup"] for row in rows if row["contender"].startswith("overfit-lab"))
    assert f"Two processes on two cores make up to {most:.1f} times one" in text


def test_imagenet_and_the_papers_scale_follow_from_their_numbers(page):
    """Closed forms: images times passes times the published work of an image."""
    work = page.run_of("imagenet-hard")
    forward = work.counts.forward
    assert work.training.flops == pytest.approx(90 * 1_281_167 * (2 * 3 + 3) * forward, rel=0.01)
    hard = page.run_of("hard")
    assert hard.training.flops == pytest.approx(200 * 50_000 * 23 * hard.counts.forward, rel=0.01)
    assert hard.parts["evaluation"].flops == 200 * (1024 + 10_000) * 42 * hard.counts.forward
