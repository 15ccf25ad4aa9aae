"""Each finding on runs with and without what it looks for, and on runs that lack what it reads."""

import re

import numpy as np
import pytest

from overfit_lab.config.catalog import FINDINGS
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.views.diagnosis import (
    cures,
    drop,
    evaluation,
    gradient_norm,
    iiw,
    memorisation,
    onset,
    overconfidence,
    sharpness,
)
from overfit_lab.views.diagnosis.diagnose import diagnose, questions
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject
from overfit_lab.views.diagnosis.phases_of import phases_of
from simulated_curves import evaluated, make, readings, rows

NORM = ("gradient-norm", "full", "train", "adversarial")
IIW = ("iiw", "iiw", "train", "adversarial")
TRACE = ("hessian", "trace", "train", "adversarial")
TOP = ("hessian", "top_eigenvalue", "train", "adversarial")
ECE = ("calibration", "ece", "test", "adversarial")
FITTED = ("memorisation", "acc_given/corrupted", "train", "clean")
NOISY = {"name": "digits", "noise": {"kind": "symmetric-flip", "rate": 0.3}}


def subject(*runs):
    return Subject("subject", tuple(runs))


def three(kind, n=50, start=0, **options):
    return subject(*(evaluated(kind, n, start + seed, **options) for seed in range(3)))


def says(value, sentence):
    """Whether a number stands in a sentence, as it is or in percent, rounded to the digits that it is written with."""
    for token in re.findall(r"-?\d[\d,]*(?:\.\d+)?", sentence):
        digits = len(token.partition(".")[2])
        if any(abs(round(scale * value, digits) - float(token.replace(",", ""))) < 1e-9 for scale in (1, 100)):
            return True
    return False


def check(finding):
    """What holds of every finding: its numbers are finite and in its sentence, its figure is drawn of its runs."""
    assert finding.verdict in ("yes", "no", "not enough evidence")
    assert finding.sentence.endswith(".") or finding.sentence.endswith(")")
    for name, value in finding.numbers.items():
        assert np.isfinite(value), name
        assert says(value, finding.sentence), (name, value, finding.sentence)
    if finding.figure is not None:
        assert finding.runs
    return finding


def confidence(above):
    """Mean confidence so far above accuracy at the last epoch; 250 of 500 samples are right."""

    def part(name, decay, onset, stream):
        import pandas as pd

        conf = rows(name, [50], [0.5 + above], "confidence", "conf", "test", "adversarial", n=500)
        right = rows(name, [50], [0.6], "confidence", "conf_correct", "test", "adversarial", n=250)
        return pd.concat([conf, right])

    return part


def last(value, source, n=500):
    """One reading at epoch 50."""
    return lambda name, decay, onset, stream: rows(name, [50], [value], *source, n=n)


# onset and drop


def test_overfitting_is_found_with_its_epoch_and_drop():
    found = check(onset.find(three("overfits"), ()))
    assert found.verdict == "yes"
    assert abs(found.numbers["onset"] - 30) <= 2
    assert found.numbers["onset_low"] <= 30 <= found.numbers["onset_high"]
    assert found.numbers["decay"] == 25
    assert (found.numbers["n_overfit"], found.numbers["n_judged"]) == (3, 3)
    assert found.numbers["gap_growth"] > 0.2
    assert found.sentence.startswith("Robust overfitting in 3 of 3 seeds: robust test accuracy drops by ")
    fallen = check(drop.find(three("overfits"), ()))
    assert fallen.verdict == "yes"
    assert fallen.numbers["raw"] == pytest.approx(0.10, abs=0.03)
    assert fallen.numbers["drop"] == pytest.approx(0.10, abs=0.03)
    assert fallen.numbers["drop_low"] < 0.1 < fallen.numbers["drop_high"]
    for name in ("drop", "drop_low", "drop_high"):
        assert fallen.numbers[name] == found.numbers[name]


@pytest.mark.parametrize("kind", ["level", "gap"])
def test_without_a_fall_there_is_no_overfitting(kind):
    found = check(onset.find(three(kind), ()))
    assert found.verdict in ("no", "not enough evidence")
    assert found.numbers["drop_low"] == 0
    assert found.numbers["drop"] < 0.01
    assert found.numbers["drop_high"] < 0.03
    fallen = check(drop.find(three(kind), ()))
    assert fallen.verdict in ("no", "not enough evidence")
    assert (fallen.verdict == "no") == (fallen.numbers["drop_high"] < 0.01)
    quiet = subject(*(evaluated(kind, 100, seed, size=0.003, correlation=0.0) for seed in range(3)))
    assert check(onset.find(quiet, ())).verdict == "no"
    assert check(drop.find(quiet, ())).verdict == "no"


def test_one_of_three_seeds_is_no_overfitting_of_the_experiment():
    mixed = subject(evaluated("overfits", 50, 0), evaluated("gap", 50, 1), evaluated("gap", 50, 2))
    found = check(onset.find(mixed, ()))
    assert found.verdict != "yes"
    assert found.numbers["n_overfit"] == 1


def test_noise_that_may_hide_a_drop_is_no_evidence_against_it():
    found = check(onset.find(subject(evaluated("gap", 15, 0, size=0.04)), ()))
    assert found.verdict == "not enough evidence"
    assert found.numbers["drop_high"] > 0.01
    assert found.advice
    assert "may be less or more than the 1.0 that count" in found.sentence


def test_few_evaluations_are_not_enough():
    found = check(onset.find(subject(evaluated("overfits", 8, 0)), ()))
    assert found.verdict == "not enough evidence"
    assert "8 evaluations" in found.sentence
    assert check(drop.find(subject(evaluated("overfits", 8, 0)), ())).verdict == "not enough evidence"


def without_train(run):
    frame = run._rows
    kept = frame[(frame["probe"] != "evaluation") | (frame["split"] != "train")]
    run.__dict__["_rows"] = kept.reset_index(drop=True)
    return run


def test_without_train_accuracy_the_drop_alone_is_judged_and_that_is_said():
    runs = [without_train(evaluated("overfits", 50, seed)) for seed in range(3)]
    found = check(onset.find(subject(*runs), ()))
    assert found.verdict == "yes"
    assert "train accuracy was not recorded, so that the gap is not judged" in found.sentence
    assert "gap_growth" not in found.numbers
    assert phases_of(runs[0]).gap is None
    level = subject(*(without_train(evaluated("gap", 50, seed)) for seed in range(3)))
    assert check(onset.find(level, ())).verdict != "yes"
    assert check(memorisation.find(subject(*runs), ())).verdict == "not enough evidence"


def test_a_fall_with_a_gap_that_stays_is_a_drop_and_no_overfitting():
    def train_falls_too(run):
        frame = run._rows
        places = (frame["probe"] == "evaluation") & (frame["split"] == "train")
        test = frame[(frame["probe"] == "evaluation") & (frame["split"] == "test")].set_index("epoch")["value"]
        frame.loc[places, "value"] = test[frame.loc[places, "epoch"]].to_numpy() + 0.03
        return run

    runs = subject(*(train_falls_too(evaluated("overfits", 50, seed)) for seed in range(3)))
    found = check(onset.find(runs, ()))
    assert found.verdict == "no"
    assert "does not widen" in found.sentence
    assert check(drop.find(runs, ())).verdict == "yes"


def test_a_collapse_is_found_as_catastrophic_overfitting():
    def collapsed(seed):
        run = evaluated("gap", 50, seed)
        frame = run._rows
        late = (frame["probe"] == "evaluation") & (frame["split"] == "test") & (frame["epoch"] > 35)
        frame.loc[late, "value"] = 0.01
        return run

    found = check(onset.find(subject(*map(collapsed, range(3))), ()))
    assert found.verdict == "yes"
    assert found.sentence.startswith("Catastrophic overfitting in 3 of 3 seeds: robust test accuracy collapses from ")
    assert (found.numbers["onset"], found.numbers["collapse"]) == (35, 36)
    assert found.numbers["left"] == pytest.approx(0.01)


def test_a_decay_is_where_the_onset_is_described_by_and_no_condition():
    def constant(run):
        frame = run._rows
        frame.loc[frame["field"] == "lr", "value"] = 0.1
        return run

    found = check(onset.find(subject(*(constant(evaluated("overfits", 50, seed)) for seed in range(3))), ()))
    assert found.verdict == "yes"
    assert "decay" not in found.sentence
    assert "the decay of the learning rate at epoch 25" in onset.find(three("overfits"), ()).sentence


def test_the_least_drop_is_what_counts():
    runs = [evaluated("overfits", 50, seed) for seed in range(3)]
    verdicts = [
        {finding.name: finding.verdict for finding in diagnose(runs, least).findings}["onset"]
        for least in (0.01, 0.04, 0.5)
    ]
    assert verdicts == ["yes", "yes", "no"]
    for least in (0, -0.01, 1, float("nan")):
        with pytest.raises(ConfigError, match="least drop"):
            diagnose(runs, least)


def test_standard_training_is_judged_by_clean_accuracy_and_says_so():
    found = check(onset.find(three("overfits", objective="standard"), ()))
    assert found.verdict == "yes"
    assert "overfitting of clean accuracy" in found.sentence.lower()
    assert "robust" not in found.sentence


def test_a_run_that_diverged_is_passed_over_by_name():
    lost = evaluated("overfits", 50, 0)
    frame = lost.records
    frame.loc[(frame["epoch"] > 40) & (frame["probe"] == "evaluation"), "value"] = np.nan
    alone = check(onset.find(subject(lost), ()))
    assert alone.verdict == "not enough evidence"
    assert "diverged (synthetic-seed0 at epoch 41)" in alone.sentence
    beside = check(onset.find(subject(lost, evaluated("overfits", 50, 1), evaluated("overfits", 50, 2)), ()))
    assert beside.verdict == "yes"
    assert beside.numbers["n_judged"] == 2
    assert "synthetic-seed0 diverged" in beside.sentence


def test_a_run_that_was_interrupted_is_judged_and_named():
    found = check(onset.find(subject(evaluated("overfits", 50, 0, info={"status": "interrupted"})), ()))
    assert "synthetic-seed0 not completed, judged up to epoch 50" in found.sentence


def test_imported_weights_have_no_history():
    found = check(onset.find(subject(make("weights", info={"status": "imported"})), ()))
    assert found.verdict == "not enough evidence"
    assert "imported" in found.sentence
    names = [finding.name for finding in diagnose([make("weights", info={"status": "imported"})]).findings]
    assert names == ["onset", "evaluation", "next"]


# growth


WATCHED = [(gradient_norm, NORM, "fig1"), (iiw, IIW, "fig1"), (sharpness, TRACE, None)]


@pytest.mark.parametrize(("module", "source", "figure"), WATCHED)
def test_growth_is_found_with_its_ratio_and_said_to_accompany_overfitting(module, source, figure):
    grows = three("overfits", extra=(readings(4, source, n=50, level=3.0),))
    found = check(module.find(grows, [Finding("onset", "subject", "yes", "")]))
    assert found.verdict == "yes"
    assert found.numbers["ratio_low"] < 4 < found.numbers["ratio_high"] * 1.2
    assert "accompanies the overfitting" in found.sentence
    assert found.figure == figure
    assert "without overfitting" in module.find(grows, [Finding("onset", "subject", "no", "")]).sentence


@pytest.mark.parametrize(("module", "source", "figure"), WATCHED)
def test_a_level_number_does_not_grow(module, source, figure):
    found = check(module.find(three("overfits", extra=(readings(1, source, n=50),)), ()))
    assert found.verdict == "no"
    assert found.numbers["ratio_high"] < 2


def test_growth_hidden_in_noise_is_not_denied():
    noisy = three("overfits", extra=(readings(1.5, NORM, n=50, size=0.8, count=8),))
    assert check(gradient_norm.find(noisy, ())).verdict == "not enough evidence"


def test_clear_but_small_growth_is_not_called_growth():
    found = check(gradient_norm.find(three("overfits", extra=(readings(1.15, NORM, n=50, size=0.01),)), ()))
    assert found.numbers["ratio_low"] > 1
    assert found.verdict == "no"


def test_growth_back_to_the_level_before_the_decay_is_said_to_be_that():
    def drops(name, decay, onset, stream):
        epochs = np.arange(2, 51, 2)
        values = np.where(epochs <= decay, 3.0, 1.0 + 2 * np.clip((epochs - onset) / 10, 0, 1))
        return rows(name, epochs, values * np.exp(0.02 * stream.normal(size=len(epochs))), *NORM)

    found = check(gradient_norm.find(three("overfits", extra=(drops,)), ()))
    assert found.verdict == "yes"
    assert "no more than before the first decay" in found.sentence
    assert found.numbers["before"] == pytest.approx(3, abs=0.1)


def test_a_number_that_was_not_recorded_says_which_probe_records_it():
    for module, metric in ((gradient_norm, "gradient-norm"), (iiw, "iiw"), (sharpness, "hessian")):
        found = check(module.find(three("overfits"), ()))
        assert (found.verdict, found.metric, found.figure) == ("not enough evidence", metric, None)


def test_few_readings_are_not_enough():
    found = check(
        gradient_norm.find(subject(evaluated("overfits", 50, 0, extra=(readings(4, NORM, n=50, count=4),))), ())
    )
    assert found.verdict == "not enough evidence"
    assert (found.numbers["n_readings"], found.metric) == (4, "gradient-norm")


def test_the_norm_of_mini_batches_stands_in_for_the_full_one():
    extra = (readings(4, ("training", "grad_norm_minibatch", "train", ""), n=50),)
    assert check(gradient_norm.find(three("overfits", extra=extra), ())).verdict == "yes"


def test_sharpness_says_the_top_eigenvalue_too_and_does_without_the_trace():
    both = check(sharpness.find(three("overfits", extra=(readings(4, TRACE, n=50), readings(2, TOP, n=50))), ()))
    assert both.numbers["top_ratio"] == pytest.approx(2, rel=0.3)
    alone = check(sharpness.find(three("overfits", extra=(readings(4, TOP, n=50),)), ()))
    assert (alone.verdict, "top eigenvalue" in alone.sentence) == ("yes", True)


def test_norms_of_zero_and_nan_are_passed_over():
    def broken(name, decay, onset, stream):
        values = np.array([1.0, np.nan, 0, 1, 1, 1.1, 1, 4, 4, 4.1])
        return rows(name, np.arange(5, 51, 5), values, *NORM)

    check(gradient_norm.find(subject(evaluated("overfits", 50, 0, extra=(broken,))), ()))


# memorisation


@pytest.mark.parametrize(("share", "verdict"), [(0.35, "yes"), (0.10, "no"), (0.03, "no"), (0.13, "no")])
def test_corrupted_labels_are_memorised_where_they_are_fitted_beyond_guessing(share, verdict):
    found = check(memorisation.find(three("overfits", data=NOISY, extra=(last(share, FITTED, n=150),)), ()))
    assert found.verdict == verdict
    assert (found.figure, found.numbers["chance"]) == ("fig4", pytest.approx(0.1))


def test_resampled_labels_that_are_right_are_no_memorisation():
    """Symmetric noise over ten classes leaves a tenth of the resampled labels right."""
    data = {"name": "digits", "noise": {"kind": "symmetric", "rate": 0.4}}
    found = check(memorisation.find(three("overfits", data=data, extra=(last(0.19, FITTED, n=1000),)), ()))
    assert (found.verdict, found.numbers["chance"]) == ("no", pytest.approx(0.19))


def test_without_label_noise_it_says_so_and_looks_at_the_gap():
    found = check(memorisation.find(three("overfits"), ()))
    assert found.verdict == "yes"
    assert "No labels are known to be corrupted" in found.sentence
    assert found.numbers["gap_final"] > found.numbers["gap_best"]
    assert check(memorisation.find(three("level"), ())).verdict == "no"


def test_with_label_noise_and_no_readings_it_asks_for_the_probe():
    assert check(memorisation.find(three("overfits", data=NOISY), ())).metric == "memorisation"


# overconfidence


def calibrated(rise, above, size=0.02):
    extra = (readings(rise, ECE, n=50, level=0.1, size=size, additive=True), confidence(above))
    return three("overfits", extra=extra)


def test_overconfidence_is_a_rising_error_with_confidence_above_accuracy():
    found = check(overconfidence.find(calibrated(0.2, 0.3), ()))
    assert found.verdict == "yes"
    assert (found.numbers["sign"], "(overconfident)" in found.sentence) == (pytest.approx(0.3), True)


def test_underconfidence_is_told_apart_whatever_the_error_does():
    found = check(overconfidence.find(calibrated(0.2, -0.3), ()))
    assert found.verdict == "no"
    assert "below accuracy (underconfident)" in found.sentence


def test_a_level_error_is_no_growth():
    assert check(overconfidence.find(calibrated(0.0, 0.1, size=0.01), ())).verdict == "no"


def test_an_error_without_a_sign_is_not_enough():
    found = check(overconfidence.find(three("overfits", extra=(readings(0.2, ECE, n=50, additive=True),)), ()))
    assert (found.verdict, found.metric) == ("not enough evidence", "confidence")
    assert check(overconfidence.find(three("overfits"), ())).metric == "calibration"


# evaluation


def attacked(autoattack, suspicious, n_test=1000):
    def part(name, decay, onset, stream):
        import pandas as pd

        parts = []
        if autoattack is not None:
            source = ("robustness", "acc_adv/autoattack", "test", "adversarial")
            parts.append(rows(name, [50], [autoattack], *source, n=500))
        if suspicious is not None:
            parts.append(rows(name, [50], [suspicious], "masking", "suspicious", "test", "adversarial", n=200))
            for check_name in ("square", "restarts"):
                parts.append(rows(name, [50], [0.0], "masking", f"evidence/{check_name}", "test", "adversarial", n=200))
        return pd.concat(parts) if parts else rows(name, [], [], *NORM)

    run = evaluated("overfits", 50, 0, extra=(part,))
    run._rows.loc[run._rows["field"] == "acc_adv", "n"] = n_test
    return subject(run)


@pytest.mark.parametrize(
    ("autoattack", "suspicious", "n_test", "verdict"),
    [
        (0.43, 0, 1000, "yes"),
        (0.20, 0, 1000, "no"),
        (0.43, 2, 1000, "no"),
        (None, 3, 1000, "no"),
        (None, 0, 1000, "not enough evidence"),
        (0.43, None, 1000, "not enough evidence"),
        (0.43, 0, 100, "not enough evidence"),
        (None, None, 1000, "not enough evidence"),
    ],
)
def test_an_evaluation_is_trusted_with_autoattack_and_checks_and_enough_samples(
    autoattack, suspicious, n_test, verdict
):
    found = check(evaluation.find(attacked(autoattack, suspicious, n_test), ()))
    assert found.verdict == verdict
    assert ("overfit-lab" in found.advice or "--set" in found.advice) == (verdict != "yes")
    assert "PGD-20" in found.sentence
    assert "chosen on test, which flatters it" in found.sentence


@pytest.mark.parametrize(("own", "left", "verdict"), [(0.09, 0.0, "no"), (0.09, 0.05, "no"), (0.09, 0.085, "yes")])
def test_what_autoattack_leaves_is_held_against_what_the_own_attack_leaves(own, left, verdict):
    """PGD 9% and AutoAttack 0.0% once made an evaluation that "can be trusted": less than ten points apart."""
    about = attacked(left, 0)
    frame = about.runs[0]._rows
    frame.loc[(frame["field"] == "acc_adv") & (frame["split"] == "test"), "value"] = own
    found = check(evaluation.find(about, ()))
    assert found.verdict == verdict
    assert "0 of 2 checks for masked gradients (restarts, square)" in found.sentence
    assert "trusted" not in found.sentence


def test_clean_accuracy_alone_raises_no_question():
    assert evaluation.find(three("overfits", objective="standard"), ()) is None
    found = check(evaluation.find(subject(make("weights", info={"status": "imported"})), ()))
    assert found.verdict == "not enough evidence"


# cures and what next


def seeds_of(name, kind, fall=0.10, n=30, start=0, **changes):
    runs = [evaluated(kind, n, start + seed, name=f"{name}-seed{seed}", fall=fall, **changes) for seed in range(3)]
    for seed, run in enumerate(runs):
        run.__dict__["config"] = run.config.model_copy(update={"seed": seed})
    return runs


def test_a_cure_that_loses_less_helped_and_one_that_does_not_did_not():
    runs = [
        *seeds_of("hard", "overfits"),
        *seeds_of("sglr", "overfits", 0.0, start=10, labels={"name": "sglr", "preset": "paper"}),
        *seeds_of("smooth", "overfits", 0.10, start=20, labels={"name": "smooth"}),
    ]
    found = check(cures.find(subject(*runs), ()))
    assert found.verdict == "yes"
    assert (found.numbers["n_helped"], found.numbers["n_compared"]) == (1, 2)
    assert found.numbers["less/sglr"] == pytest.approx(0.085, abs=0.025)
    assert "less/smooth" not in found.numbers
    assert found.figure == "methods"


def test_one_seed_helps_nobody():
    runs = [
        *seeds_of("hard", "overfits")[:1],
        *seeds_of("sglr", "level", labels={"name": "sglr", "preset": "paper"})[:1],
    ]
    found = check(cures.find(subject(*runs), ()))
    assert found.verdict == "not enough evidence"
    assert "one seed" in found.sentence
    assert found.advice


def test_without_a_baseline_or_a_method_there_is_no_question():
    assert cures.find(subject(*seeds_of("hard", "overfits")), ()) is None
    assert cures.find(subject(*seeds_of("smooth", "overfits", labels={"name": "smooth"})), ()) is None


def test_runs_of_other_data_or_threats_are_not_compared():
    other = seeds_of("far", "level", labels={"name": "smooth"}, data=NOISY)
    found = diagnose([*seeds_of("hard", "overfits"), *other])
    assert not [finding for finding in found.findings if finding.name == "cures"]
    assert [part.name for part in found.subjects] == ["hard", "far"]


def test_what_next_names_untried_cures_missing_probes_and_seeds():
    (found,) = [f for f in diagnose([evaluated("overfits", 50, 0)]).findings if f.name == "next"]
    check(found)
    assert "labels.name=sglr" in found.sentence
    assert "[awp]" in found.sentence
    assert "early-stopping" in found.sentence
    assert "--metric gradient-norm,iiw,hessian,calibration --checkpoint all" in found.sentence
    assert "--attack autoattack" in found.sentence
    assert "--seeds 3" in found.sentence


def test_a_monitored_run_is_not_advised_commands_that_need_our_checkpoints_or_trainer():
    run = evaluated("overfits", 50, 0, monitored={"known": ["model"]})
    findings = diagnose([run]).findings
    (found,) = [f for f in findings if f.name == "next"]
    check(found)
    for part in ("SGLR", "adversarial weight perturbation", "among the monitor's probes", "WEIGHTS --model"):
        assert part in found.sentence
    assert not [f for f in findings if "overfit-lab train" in f.sentence + f.advice or "RUN" in f.sentence + f.advice]


def test_cures_that_were_tried_are_not_advised_again():
    runs = [*seeds_of("hard", "overfits"), *seeds_of("smooth", "overfits", start=20, labels={"name": "smooth"})]
    (found,) = [f for f in diagnose(runs).findings if f.name == "next"]
    assert "no cure was tried" not in found.sentence


# all together


def test_findings_come_in_order_by_subject_with_those_about_everything_last():
    found = diagnose([*seeds_of("hard", "overfits"), *seeds_of("smooth", "level", labels={"name": "smooth"})])
    order = [finding.name for finding in found.of("hard")]
    assert order[:3] == ["onset", "drop", "memorisation"]
    assert order.index("gradient-norm") < order.index("iiw") < order.index("sharpness") < order.index("evaluation")
    assert [finding.name for finding in found.findings][-2:] == ["cures", "next"]
    for finding in found.findings:
        check(finding)


def test_a_new_file_is_read_in_its_place():
    FINDINGS["extra"] = Question(lambda about, before: Finding("extra", about.name, "yes", "It is."), place=5)
    try:
        names = [finding.name for finding in diagnose([evaluated("level", 30, 0)]).findings]
    finally:
        del FINDINGS["extra"]
    assert names[:3] == ["onset", "extra", "drop"]
    assert [question.place for question in questions("experiment")] == sorted(q.place for q in questions("experiment"))


def test_runs_with_nothing_recorded_are_answered_and_no_runs_refused():
    for finding in diagnose([make("empty")]).findings:
        check(finding)
        assert finding.name == "next" or finding.verdict == "not enough evidence"
    with pytest.raises(RunFolderError, match="no runs"):
        diagnose([])


def test_of_runs_of_one_seed_that_with_the_most_records_is_judged():
    short, whole = evaluated("overfits", 20, 0, name="a-seed0"), evaluated("overfits", 40, 0, name="b-seed0")
    (about,) = diagnose([short, whole]).subjects
    assert [run.name for run in about.runs] == ["b-seed0"]


def test_a_diagnosis_repeats():
    first, again = (diagnose([evaluated("overfits", 30, seed) for seed in range(2)]).findings for _ in range(2))
    assert [finding.sentence for finding in first] == [finding.sentence for finding in again]
