"""The cost model against the committed records, and the page on scaling against both."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def page():
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("draw_scaling", DOCS / "draw_scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FITTED = [f"{name}-hard-seed{seed}" for name in ("digits", "cifar10-small") for seed in range(3)]
SAMPLE = [
    "digits-mart-seed0", "digits-te-seed1", "digits-smooth-seed2", "cifar10-small-smooth-seed1",
    "studies/digits-table4/r0.6-temperature1-seed0", "studies/digits-table4/r0.6-temperature1-seed1",
]  # fmt: skip
"""Of several families and methods."""


@pytest.mark.slow
def test_every_run_is_predicted_and_page_and_readme_say_so(page):
    """Constants are those of the fitted runs; a model that forgets the attack would not predict the others."""
    page.check_all()


def test_the_check_notices_a_model_that_is_off(page):
    runs = page.observed((*FITTED, *SAMPLE))
    assert [run.name for run in page.held_out(runs)] == SAMPLE
    page.check(runs)
    slow = [replace(run, work=run.work + run.work) for run in runs]
    with pytest.raises(AssertionError):
        page.check(slow)


def test_what_the_readme_says_is_what_the_page_says(page):
    readme, text = (" ".join(path.read_text().split()) for path in (DOCS.parent / "README.md", DOCS / "scaling.md"))
    n, share = re.search(
        r"Of the (\d+) other runs that had a core each, (\d+%) are within a factor of 1.25", text
    ).groups()
    assert f"{share} of {n} held-out runs are predicted within a factor of 1.25" in readme
    rows = json.loads(page.MEASURED.read_text())["rows"]
    most = max(row["speedup"] for row in rows if row["contender"].startswith("overfit-lab"))
    assert f"Two processes on two cores make up to {most:.1f} times one" in readme


def test_imagenet_and_the_papers_scale_follow_from_their_numbers(page):
    """Closed forms: images times passes times the published work of an image."""
    work = page.run_of("imagenet-hard")
    forward = work.counts.forward
    assert work.training.flops == pytest.approx(90 * 1_281_167 * (2 * 3 + 3) * forward, rel=0.01)
    hard = page.run_of("hard")
    assert hard.training.flops == pytest.approx(200 * 50_000 * 23 * hard.counts.forward, rel=0.01)
    assert hard.parts["evaluation"].flops == 200 * (1024 + 10_000) * 42 * hard.counts.forward
