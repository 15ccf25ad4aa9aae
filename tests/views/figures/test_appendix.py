"""Figures B.2 and B.3, the onset, and what captions say of scale: on synthetic runs."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.probes.metrics.drop import Drop
from overfit_lab.probes.metrics.phases import Phases
from overfit_lab.probes.metrics.unimodal import Peak
from overfit_lab.records.distributions import density, nearest_epoch
from overfit_lab.records.reader import Run
from overfit_lab.records.writer import RunWriter
from overfit_lab.views.diagnosis.phases_of import phases_of
from overfit_lab.views.figures.caption import caption, data_name, samples, stages
from overfit_lab.views.figures.draw import once
from overfit_lab.views.figures.onset import in_words
from overfit_lab.views.figures.series import curve, level_around, pooled_bins
from run_factory import EPOCHS, make_run


def with_info(folder, **data):
    with RunWriter.reopen(folder) as writer:
        writer.update_info(data=data)
    return Run.open(folder)


def test_captions_say_what_a_split_is_of(tmp_path):
    cifar = {"data": {"name": "parquet:somewhere/cifar10-jpeg", "n_train": 2000}}
    make_run(tmp_path / "a", rate=0, **cifar)
    run = with_info(tmp_path / "a", sizes={"train": 2000, "val": 500, "test": 10_000})
    assert data_name(run) == "CIFAR-10 (JPEG q75), n train 2,000 of 50,000, n val 500, n test 10,000"
    assert data_name(with_info(tmp_path / "a", sizes={"train": 50_000})) == "CIFAR-10 (JPEG q75), n train 50,000"
    assert data_name(with_info(tmp_path / "a", sizes={})) == "CIFAR-10 (JPEG q75)"
    make_run(tmp_path / "own", rate=0, data={"name": "imagefolder:my/pictures"})
    assert data_name(with_info(tmp_path / "own", sizes={"train": 70})) == "pictures, n train 70"
    digits = make_run(tmp_path / "digits")
    assert data_name(digits) == "digits, n train 500, n test 797 (of 1,797)"
    assert data_name(with_info(tmp_path / "digits", sizes={"train": 1000, "test": 797})).endswith("n test 797")


def test_samples_are_those_that_the_records_name(tmp_path):
    runs = [make_run(tmp_path / name) for name in "ab"]
    assert samples(runs, "evaluation", "acc_adv", "test", "adversarial") == "100 adversarial test images"
    assert samples(runs, "evaluation", "acc_adv", "test", "") == "100 test images"
    assert samples(runs, "calibration", "ece", "test", "clean") == "clean test images"
    path = tmp_path / "b" / "records.jsonl"
    path.write_text(path.read_text().replace('"n":100,', '"n":1200,'))
    again = [runs[0], Run.open(tmp_path / "b")]
    assert samples(again, "evaluation", "acc_adv", "test", "") == "100 to 1,200 test images"
    assert stages([]) == ""
    assert "decays" in stages([3])


def test_seeds_that_are_drawn_each_are_not_called_a_mean(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", seed=seed) for seed in (0, 1)]
    assert "2 seeds, each by itself" in caption(runs, shows="each")
    assert "band" not in FIGURES["masking"](runs).get_supxlabel().replace("\n", " ").replace("bands and bars", "")


def test_figb2_names_training_by_kind_and_by_labels_where_there_are_several(tmp_path):
    standard = [make_run(tmp_path / f"s{s}", seed=s, objective="standard") for s in (0, 1)]
    hard = [make_run(tmp_path / f"h{s}", seed=s) for s in (0, 1)]
    sglr = make_run(tmp_path / "g", "sglr")
    names = {
        "standard training": standard,
        "adversarial training": hard,
    }
    figure = FIGURES["figb2"]([*hard, *standard])
    handles, shown = once(figure.axes)
    assert shown == list(names)
    assert len({(h.get_color(), str(h.get_linestyle()), h.get_marker()) for h in handles}) == 2
    assert "no run of" not in figure.get_supxlabel()
    epochs = np.arange(2, EPOCHS + 1, 2)
    for axes, shift in zip(figure.axes, (0.0, 0.1), strict=True):
        for line in (drawn for drawn in axes.get_lines() if drawn.get_label() in names):
            np.testing.assert_allclose(line.get_ydata(), 0.1 + shift + epochs / 200)
    several = once(FIGURES["figb2"]([*standard, *hard, sglr]).axes)[1]
    assert several == ["standard training", "adversarial training, hard labels", "adversarial training, SGLR"]
    assert "no run of adversarial training" in FIGURES["figb2"](standard).get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize(("name", "probe"), [("figb2", "calibration"), ("figb3", "confidence")])
def test_missing_measurements_are_named_with_the_command(name, probe, tmp_path):
    with pytest.raises(RunFolderError, match=f"--metric {probe}"):
        FIGURES[name]([make_run(tmp_path / "bare", probes=False)])


def test_onset_of_standard_training_is_of_clean_accuracy(tmp_path):
    figure = FIGURES["onset"]([make_run(tmp_path / "s", objective="standard")])
    assert figure.axes[0].get_ylabel() == "clean accuracy, gap (%)"
    np.testing.assert_allclose(figure.axes[0].get_lines()[1].get_ydata(), 0.4 + np.arange(1, EPOCHS + 1) / 60)


def test_onset_without_evaluations_says_so(tmp_path):
    make_run(tmp_path / "s")
    path = tmp_path / "s" / "records.jsonl"
    path.write_text("\n".join(row for row in path.read_text().splitlines() if '"evaluation"' not in row) + "\n")
    with pytest.raises(RunFolderError, match="no accuracy on train and test in s"):
        FIGURES["onset"]([Run.open(tmp_path / "s")])


def test_onset_has_a_row_an_experiment(tmp_path):
    runs = [make_run(tmp_path / f"h{s}", seed=s) for s in range(4)] + [make_run(tmp_path / "g", "sglr")]
    axes = FIGURES["onset"](runs).axes
    shown = [a.get_title(loc="left").split("\n")[0] if a.axison else None for a in axes]
    hard = [f"hard labels, seed {s}" for s in range(4)]
    assert shown == [*hard, None, None, "SGLR, seed 0", None, None]


def test_the_verdict_in_words():
    drop = Drop(value=0.0021, low=0.0, high=0.019, least=0.0, p=0.6, raw=0.01, width=3, peak=12)
    assert in_words(Phases("none", drop)) == "no overfitting\ndrops 0.2 [0.0, 1.9] points"
    found = Phases("robust overfitting", drop, peak=Peak(14, 8, 24.4, 0.5))
    assert in_words(found).startswith("overfits from epoch 14 [8, 24]\n")
    assert in_words(Phases("not enough evidence")) == "cannot tell"


def test_phases_of_a_run_are_those_of_its_records_and_repeat(tmp_path):
    run = make_run(tmp_path / "h")
    found = phases_of(run)
    assert found == phases_of(Run.open(tmp_path / "h"))
    assert found.verdict in ("robust overfitting", "none")
    assert found.drop.peak == pytest.approx(12, abs=1)
    assert phases_of(make_run(tmp_path / "s", objective="standard")).verdict == "none"


def test_figb3_takes_each_runs_own_epochs_and_says_which(tmp_path):
    run = make_run(tmp_path / "h")
    values = {4: 0.2, 9: 0.4, 13: 0.6, EPOCHS: 0.8}  # best is 12, decays are at 10 and 15
    with RunWriter.reopen(tmp_path / "h") as writer:
        for epoch, value in values.items():
            kept = {f"label-prob-test-{i}": np.full(30, value) for i in ("clean", "adversarial")}
            writer.save_arrays("confidence", epoch, kept)
    figure = FIGURES["figb3"]([Run.open(tmp_path / "h")])
    stems = [[drawn.get_xdata()[0] for drawn in axes.get_lines()] for axes in figure.axes]
    np.testing.assert_allclose(stems, [[0.6], [0.8]] * 2)
    assert "hard labels 13 (12)" in figure.get_supxlabel().replace("\n", " ")
    assert "30 test images" in figure.get_supxlabel().replace("\n", " ")
    assert run.name == "h"


def test_the_nearest_epoch_keeps_to_a_stage_where_it_can():
    assert nearest_epoch([5, 10, 15, 20], 12, [10]) == 15
    assert nearest_epoch([5, 10, 15, 20], 12, []) == 10
    assert nearest_epoch([5, 10], 12, [10]) == 10
    assert nearest_epoch([10, 14], 12, []) == 10


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=40), min_size=1, max_size=4), st.integers(1, 30))
def test_a_density_is_one_and_lies_in_its_band(samples, n_bins):
    found = density([np.array(part) for part in samples], n_bins)
    assert found.mean.sum() / n_bins == pytest.approx(1)
    assert (found.low <= found.mean + 1e-12).all()
    assert (found.mean <= found.high + 1e-12).all()
    assert found.average == pytest.approx(np.mean([np.mean(part) for part in samples]), abs=1e-12)
    if len(samples) == 1:
        np.testing.assert_array_equal(found.low, found.high)


def test_pooled_bins_are_those_of_all_samples_together(tmp_path):
    rng = np.random.default_rng(0)
    runs, everything = [], []
    for seed in (0, 1):
        make_run(tmp_path / f"{seed}", seed=seed)
        confidence, right = rng.uniform(size=40 + 20 * seed), rng.integers(0, 2, 40 + 20 * seed)
        everything.append(np.stack([confidence, right], 1))
        with RunWriter.reopen(tmp_path / f"{seed}") as writer:
            writer.save_arrays("calibration", EPOCHS, {"reliability-test-clean": bins(everything[-1])})
        runs.append(Run.open(tmp_path / f"{seed}"))
    want = bins(np.concatenate(everything))
    found = pooled_bins(runs, "clean")
    np.testing.assert_allclose(found, np.nan_to_num(want), atol=1e-12)
    assert pooled_bins(runs, "noisy") is None


def bins(table):
    which = np.minimum((table[:, 0] * 15).astype(int), 14)
    return np.array(
        [
            [*(table[which == i].mean(0) if (which == i).any() else (np.nan, np.nan)), (which == i).sum()]
            for i in range(15)
        ]
    )


def test_the_gap_is_of_epochs_that_have_both(tmp_path):
    make_run(tmp_path / "r")
    path = tmp_path / "r" / "records.jsonl"
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    kept = [row for row in rows if not (row["field"] == "acc_adv" and row["split"] == "train" and row["epoch"] % 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    run = Run.open(tmp_path / "r")
    found = next(line for line in FIGURES["onset"]([run]).axes[0].get_lines() if line.get_label() == "gap")
    test = curve([run], "evaluation", "acc_adv", "test", "adversarial")
    np.testing.assert_array_equal(found.get_xdata(), np.arange(2, EPOCHS + 1, 2))
    np.testing.assert_allclose(found.get_ydata(), found.get_xdata() / 25 - test.mean[1::2])
    assert level_around(test, 12) == pytest.approx(test.mean[10:13].mean())
    assert level_around(test, EPOCHS) == pytest.approx(test.mean[-3:].mean())
