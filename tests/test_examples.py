"""The examples do what they say, as a newcomer would run them."""

import runpy
from pathlib import Path

import pytest

from overfit_lab.records.reader import Run

MINIMAL = Path(__file__).parents[1] / "examples" / "minimal.py"


@pytest.fixture(scope="module")
def minimal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minimal") / "run"
    runpy.run_path(str(MINIMAL))["main"](str(folder), 4)
    return Run.open(folder)


def test_minimal_records_what_the_diagnosis_reads(minimal):
    series = minimal.series("evaluation", "acc_adv", split="test", inputs="adversarial")
    assert series["epoch"].tolist() == [1, 2, 3, 4]
    assert series["value"].iloc[-1] > 0.3  # it learns: chance is 0.1
    rates = minimal.series("training", "lr")
    assert rates["value"].tolist() == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_minimal_flips_the_labels_it_says():
    names = runpy.run_path(str(MINIMAL))
    import torch
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    images, labels = names["digits"]()
    torch.manual_seed(0)
    order = torch.randperm(len(labels))
    truth = torch.tensor(load_digits().target[order])
    assert (labels != truth).nonzero().flatten().tolist() == list(range(150))
    assert images.min() >= 0
    assert images.max() <= 1


def test_minimal_can_be_read_in_five_minutes():
    assert len(MINIMAL.read_text().splitlines()) <= 60
