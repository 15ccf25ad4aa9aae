"""The drop on the same test samples, from their outcomes at two epochs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Subject
from overfit_lab.views.diagnosis.paired import Paired, find, paired_in

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"


def test_the_counts_are_those_of_the_files():
    run = Run.open(REFERENCE / "cifar10-small-hard-seed0")
    pair = paired_in(run)
    first, last = (
        dict(np.load(run.folder / "evaluations" / f"autoattack-test-500-{epoch}.npz")) for epoch in ("0012", "0050")
    )
    robust = [part["broken_by"] == -1 for part in (first, last)]
    assert (pair.attack, pair.n, pair.epoch) == ("autoattack", 500, 12)
    assert pair.lost == sum(a and not b for a, b in zip(*robust, strict=True))
    assert pair.gained == sum(b and not a for a, b in zip(*robust, strict=True))
    assert (pair.lost - pair.gained) / 500 == pytest.approx(robust[0].mean() - robust[1].mean())


def test_hard_labels_lose_more_than_the_draw_of_samples_explains_and_sglr_does_not():
    verdicts = {}
    for name in ("cifar10-small-hard", "cifar10-small-sglr", "digits-hard", "digits-sglr"):
        runs = tuple(Run.open(folder) for folder in sorted(REFERENCE.glob(f"{name}-seed*")))
        found = find(Subject(name, runs), ())
        verdicts[name] = found.verdict
        assert f"{100 * found.numbers['paired']:.1f} points" in found.sentence
        assert found.numbers["paired_low"] < found.numbers["paired"] < found.numbers["paired_high"]
    assert verdicts["cifar10-small-hard"] == verdicts["digits-hard"] == "yes"
    assert "yes" not in (verdicts["cifar10-small-sglr"], verdicts["digits-sglr"])


def test_without_outcomes_at_two_epochs_or_of_other_samples_there_is_no_question(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(REFERENCE / "cifar10-small-hard-seed0", folder)
    last = folder / "evaluations" / "autoattack-test-500-0050.npz"
    arrays = dict(np.load(last))
    last.unlink()
    assert find(Subject("one", (Run.open(folder),)), ()) is None
    arrays["index"] = arrays["index"] + 1
    np.savez(last, **arrays)
    assert find(Subject("other", (Run.open(folder),)), ()) is None


@pytest.mark.parametrize(
    ("n", "lost", "gained"), [(100, 0.02, 0.01), (500, 0.1, 0.02), (1000, 0.05, 0.05), (50, 0.3, 0.1)]
)
def test_its_interval_covers(n, lost, gained):
    """In 95% of 400 draws of samples."""
    stream, covered = np.random.default_rng(0), 0
    for _ in range(400):
        b, c, _ = stream.multinomial(n, [lost, gained, 1 - lost - gained])
        value, error = Paired("pgd-20", n, 1, int(b), int(c)).drop
        covered += abs(value - (lost - gained)) <= 1.96 * error
    assert covered >= binom.ppf(0.005, 400, 0.94)
