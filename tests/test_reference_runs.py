"""The committed records bear out what README and notebooks say of them."""

import json
from pathlib import Path

import pytest
import yaml

from overfit_lab.config import to_dict
from overfit_lab.runs.reader import Run
from overfit_lab.runs.summary import compare

FOLDER = Path(__file__).parents[1] / "runs" / "reference"
RUNS = sorted(path.parent.name for path in FOLDER.glob("*/run.json"))


def table(pattern):
    frame = compare([Run.open(path) for path in sorted(FOLDER.glob(pattern))])
    return frame.set_index("labels")


def agrees(kept, read):
    """Whether everything that the file says is read so; keys that came later have their defaults."""
    if isinstance(kept, dict):
        return all(key in read and agrees(value, read[key]) for key, value in kept.items())
    return kept == read


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_complete_and_says_what_it_was_made_with(name):
    run = Run.open(FOLDER / name)
    assert run.info["status"] == "completed"
    assert run.info["epoch"] == run.config.epochs == run.records["epoch"].max()
    assert run.info["git_revision"]
    assert not run.info["git_revision"].endswith("changes")
    assert run.info["hardware"]["cpu"]
    assert run.info["started"].startswith("20")
    assert run.info["versions"]["torch"]
    kept = yaml.safe_load((FOLDER / name / "config.yaml").read_text())
    assert agrees(kept, to_dict(run.config))
    assert not list((FOLDER / name).glob("*.pt"))
    assert max(path.stat().st_size for path in (FOLDER / name).rglob("*") if "checkpoints" not in path.parts) < 2**20
    assert "/work" not in json.dumps(run.info)


def test_three_seeds_of_the_demo_hold_its_promise():
    found = table("digits-[hs]*-seed*").drop(index="standard, hard", errors="ignore")
    assert (found["n_seeds"] == 3).all()
    assert found.loc["hard", "robust_diff"] >= 8
    assert found.loc["sglr", "robust_diff"] < found.loc["hard", "robust_diff"] / 2
    assert found.loc["hard", "robust_diff"] > found.loc["smooth", "robust_diff"] > found.loc["sglr", "robust_diff"]


def test_without_label_noise_digits_hardly_overfit():
    found = table("clean-digits-*")
    assert found.loc["hard", "n_seeds"] == 3
    assert found.loc["hard", "robust_diff"] < 2


def test_three_seeds_of_cifar10_small():
    found = table("cifar10-small-*")
    assert (found["n_seeds"] == 3).all()
    assert found.loc["hard", "robust_diff"] > 3
    assert found.loc["sglr", "robust_diff"] < found.loc["hard", "robust_diff"] / 2
    assert found.loc["sglr", "ece_adv_final"] < 0.1 < found.loc["hard", "ece_adv_final"]


def test_noisy_labels_are_memorised_by_hard_labels_and_not_by_sglr():
    for path in FOLDER.glob("digits-noise40-*"):
        run = Run.open(path)
        train = run.series("evaluation", "acc_clean", "train", "clean")["value"].iloc[-1]
        untouched = run.series("memorisation", "share_untouched", "train", "clean")["value"].iloc[-1]
        if run.config.labels.name == "sglr":
            assert untouched < train < untouched + 0.08
        else:
            assert train > 0.99
