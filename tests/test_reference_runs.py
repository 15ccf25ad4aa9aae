"""The committed records bear out what README and notebooks say of them."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from overfit_lab.config import to_dict
from overfit_lab.config.catalog import TABLES
from overfit_lab.config.recipes.methods import METHODS
from overfit_lab.evaluation.store import read_outcomes
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import compare
from overfit_lab.views.tables.as_text import as_markdown
from overfit_lab.views.tables.options import TableOptions

FOLDER = Path(__file__).parents[1] / "runs" / "reference"
RUNS = sorted(
    str(path.parent.relative_to(FOLDER)) for part in ("*", "studies/*/*") for path in FOLDER.glob(f"{part}/run.json")
)


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
    if name.startswith("studies/masking"):
        assert run.info["status"] == "imported"
        assert set(run.records["epoch"]) == {0}  # the file has the epochs of a configuration
    else:
        assert run.info["status"] == "completed"
        assert run.info["epoch"] == run.config.epochs == run.records["epoch"].max()
    assert run.info["git_revision"]
    assert not run.info["git_revision"].endswith("changes")
    assert run.info["hardware"]["cpu"]
    assert run.info["started"].startswith("20")
    assert run.info["versions"]["torch"]
    kept = yaml.safe_load((FOLDER / name / "config.yaml").read_text())
    if kept.get("compute", {}).get("precision") == "auto" and run.info["status"] != "imported":
        kept["compute"]["precision"] = run.info["compute"]["precision"]  # what it came to
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
    found = table("cifar10-small-[hs]*")
    assert (found.drop(index="standard, hard")["n_seeds"] == 3).all()
    assert found.loc["hard", "robust_diff"] > 3
    assert found.loc["sglr", "robust_diff"] < found.loc["hard", "robust_diff"] / 2
    assert found.loc["sglr", "ece_adv_final"] < 0.1 < found.loc["hard", "ece_adv_final"]


def test_a_cosine_schedule_cures_nothing():
    hard, cosine = (table(f"cifar10-small-{name}-*").loc["hard"] for name in ("hard", "cosine"))
    assert cosine["n_seeds"] == 3
    assert cosine["robust_diff"] > hard["robust_diff"]
    assert cosine["best_epoch"] < hard["best_epoch"]


def test_without_its_share_in_the_target_sglr_is_hard_labels_to_the_last_digit():
    study = FOLDER / "studies" / "digits-table4"
    for seed in (0, 1, 2):
        curves = [
            Run.open(study / f"r0-temperature{t}-seed{seed}").series("evaluation", "acc_adv", "test")["value"].tolist()
            for t in ("0.5", "1", "1.5", "2")
        ]
        hard = Run.open(FOLDER / f"digits-hard-seed{seed}").series("evaluation", "acc_adv", "test").set_index("epoch")
        assert curves[0] == curves[1] == curves[2] == curves[3]
        assert curves[0] == hard["value"].loc[4::4].tolist()


def test_noisy_labels_are_memorised_by_hard_labels_and_not_by_sglr():
    for path in FOLDER.glob("digits-noise40-*"):
        run = Run.open(path)
        train = run.series("evaluation", "acc_clean", "train", "clean")["value"].iloc[-1]
        untouched = run.series("memorisation", "share_untouched", "train", "clean")["value"].iloc[-1]
        if run.config.labels.name == "sglr":
            assert untouched < train < untouched + 0.08
        else:
            assert train > 0.99


def test_the_readme_quotes_the_diagnosis_as_it_is():
    from overfit_lab.views.diagnosis.diagnose import diagnose

    found = diagnose([Run.open(path) for path in sorted(FOLDER.glob("cifar10-small-hard-seed*"))]).findings
    shown = " ".join((FOLDER.parents[1] / "README.md").read_text().split())
    for finding in found:
        if finding.name in ("onset", "overconfidence", "evaluation"):
            assert f"{finding.name}: {finding.verdict} {finding.sentence}" in shown


@pytest.mark.slow
def test_the_page_on_reference_runs_is_written_from_the_records(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    page = importlib.import_module("page")
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "run runs/reference/page.py"


def test_on_cifar10_small_sglr_keeps_to_the_share_of_right_labels_at_40_percent_alone():
    def train_accuracy(rate, mode):
        runs = [Run.open(path) for path in sorted(FOLDER.glob(f"cifar10-noise{rate}-{mode}-seed*"))]
        assert len(runs) == 2
        right = [1 - run.info["data"].get("n_changed", 0) / 2000 for run in runs]
        found = [run.series("evaluation", "acc_clean", "train", "clean")["value"].iloc[-1] for run in runs]
        return sum(found) / 2, sum(right) / 2

    for rate in ("00", "20", "40", "60"):
        for mode in ("hard", "smooth"):
            assert train_accuracy(rate, mode)[0] > 0.999
    accuracy, right = train_accuracy("40", "sglr")
    assert accuracy == pytest.approx(right, abs=0.03)
    for rate in ("00", "20", "60"):
        accuracy, right = train_accuracy(rate, "sglr")
        assert abs(accuracy - right) > 0.1


def test_te_awp_and_trades_lose_less_than_hard_labels_on_cifar10_small():
    lost = {
        name: table(f"cifar10-small-{name}-seed*")["robust_diff"].iloc[0] for name in ("hard", "te", "trades", "awp")
    }
    assert lost["awp"] < 1 < lost["te"] < 2 < lost["trades"] < 6 < lost["hard"]


def test_the_diagnosis_finds_the_peak_with_hard_labels_and_no_drop_with_sglr():
    """The onset is within two epochs of the records' best epoch; SGLR has none, and drops less than a point."""
    from overfit_lab.views.diagnosis.diagnose import diagnose

    for prefix in ("cifar10-small", "digits"):
        for seed in (0, 1, 2):
            hard, sglr = (Run.open(FOLDER / f"{prefix}-{mode}-seed{seed}") for mode in ("hard", "sglr"))
            found = {f.name: f for f in diagnose([hard]).findings}
            series = hard.series("evaluation", "acc_adv", "test", "adversarial")
            assert found["onset"].verdict == "yes"
            assert abs(found["onset"].numbers["onset"] - series["epoch"][series["value"].idxmax()]) <= 2
            cured = {f.name: f for f in diagnose([sglr]).findings}
            assert cured["onset"].verdict != "yes"
            assert cured["drop"].numbers["drop"] < 0.01


def test_the_readme_shows_the_table_of_all_methods_as_recorded(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    shown = importlib.import_module("table").markdown()
    assert shown in (FOLDER.parents[1] / "README.md").read_text()
    found = importlib.import_module("table").rows()
    assert (found["n_seeds"] == 3).all()
    methods = set(found["method"].str.replace(" + ", "-"))
    assert methods == {"hard labels", *METHODS} - {"hard"}


def test_what_the_readme_says_of_the_methods_is_in_the_records(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.import_module("table").rows().set_index("method")
    groups = {
        (79, 82): ["te", "sglr", "mixup", "awp", "kd", "kd-swa", "gaussian-noise", "trades + sglr"],
        (74.9, 79.1): ["alp", "sce", "early-stopping", "cutout", "trades", "kd-at", "als", "mart", "l1", "l2"],
        (70, 75): ["swa", "boltzmann", "smooth", "ema"],
        (60, 67.3): ["second-best", "logit-squeezing", "clp"],
    }
    for (low, high), names in groups.items():
        assert found.loc[names, "robust_final"].between(low, high).all()
    assert (found.loc[groups[79, 82], "robust_diff"] <= 1.7).all()
    assert found["iiw_final"].idxmax() == found["grad_norm_final"].idxmax() == "sce"
    assert found["iiw_final"].nsmallest(2).index.tolist() == ["l1", "te"]
    assert found.loc["sglr", "iiw_final"] > 5 * found.loc["hard labels", "iiw_final"]
    assert found["ece_adv_final"].nsmallest(2).max() < 0.08


def test_of_the_methods_above_early_stopping_only_sglr_is_so_in_every_seed():
    def final(method, seed, probe="evaluation"):
        run = Run.open(FOLDER / f"digits-{method}-seed{seed}")
        return run.series(probe, "acc_adv", "test", "adversarial")["value"].iloc[-1]

    ahead = {"kd-swa": "evaluation@kd-swa"}
    above = []
    for method in ("te", "sglr", "mixup", "awp", "kd", "kd-swa", "gaussian-noise", "trades-sglr"):
        gaps = [
            final(method, seed, ahead.get(method, "evaluation"))
            - final("early-stopping", seed, "evaluation@early-stopping")
            for seed in (0, 1, 2)
        ]
        assert 0.01 < sum(gaps) / 3 < 0.03
        above += [method] if min(gaps) > 0 else []
    assert above == ["sglr"]


@pytest.mark.parametrize("name", ["digits", "cifar10-small"])
def test_the_readme_shows_natural_pgd_and_autoattack_as_recorded(monkeypatch, name):
    monkeypatch.syspath_prepend(str(FOLDER))
    assert importlib.import_module("table").attacked(name) in (FOLDER.parents[1] / "README.md").read_text()


EVALUATED = sorted({path.parent.parent.name for path in FOLDER.glob("*/evaluations/*.npz")})


@pytest.mark.parametrize("name", EVALUATED)
def test_each_evaluated_run_has_its_outcomes_and_they_agree_with_the_records(name):
    """AutoAttack at the best and the final checkpoint; PGD-20 in training finds no more than AutoAttack does."""
    run = Run.open(FOLDER / name)
    found = read_outcomes(FOLDER / name)
    outcomes = [outcome for outcome in found if not outcome.label.startswith("transfer-")]
    assert {outcome.label for outcome in outcomes} == {"autoattack"}
    assert run.config.epochs in {outcome.settings["epoch"] for outcome in outcomes}
    for outcome in outcomes:
        epoch, n = outcome.settings["epoch"], len(outcome)
        assert outcome.complete
        assert outcome.stages == ("apgd-ce", "apgd-t", "fab-t", "square")
        assert not outcome.made["git_revision"].endswith("changes")
        value = run.value_at(epoch, "robustness", "acc_adv/autoattack", "test", "adversarial")
        assert value == outcome.robust_accuracy
        own = run.value_at(epoch, "evaluation", "acc_adv", "test", "adversarial")
        assert outcome.robust_accuracy <= own + 2 * (own * (1 - own) / n) ** 0.5


def test_no_reference_run_masks_its_gradients():
    """And the two that do on purpose are caught."""
    checked = 0
    for name in EVALUATED:
        run = Run.open(FOLDER / name)
        suspicious = run.value_at(run.config.epochs, "masking", "suspicious", "test", "adversarial")
        if suspicious is not None:
            checked += 1
            assert suspicious == 0, name
    assert checked >= 20
    masks = FOLDER / "studies" / "masking"
    found = {
        path.name: Run.open(path).value_at(0, "masking", "suspicious", "test", "adversarial")
        for path in masks.iterdir()
    }
    own = {path.name: Run.open(path).value_at(0, "masking", "own", "test", "adversarial") for path in masks.iterdir()}
    assert [round(100 * own[name]) for name in ("honest", "scaled-logits", "rounded-pixels")] == [67, 92, 92]
    assert found["honest"] == 0
    assert min(found["scaled-logits"], found["rounded-pixels"]) >= 4


def test_shares_above_their_limits_are_those_that_the_readme_names():
    """Four of them, and chance may account for each."""
    above = {}
    for name in EVALUATED:
        run = Run.open(FOLDER / name)
        for key, (share, low, high, limit, n) in (
            (key, array)
            for key, array in run.arrays("masking", run.config.epochs).items()
            if key.startswith("evidence-")
        ):
            if share > limit:
                above[name, key.removeprefix("evidence-")] = [round(100 * v, 1) for v in (share, low, high, limit)]
                assert (low < limit, n) == (True, 200)
    assert above.pop(("cifar10-small-sglr-seed0", "square")) == [2.5, 0.8, 5.7, 2.0]
    assert list(above.values()) == [[1.5, 0.3, 4.3, 1.0]] * 3
    assert all(name.startswith("digits-") and check == "more-steps" for name, check in above)


def transferred():
    return [
        (name, outcome)
        for name in EVALUATED
        for outcome in read_outcomes(FOLDER / name)
        if "source" in outcome.settings
    ]


def test_transfer_attacks_are_from_the_kept_sources_of_their_seed_and_agree_with_the_records():
    """Images of another network fool fewer than the model's own: on the whole test split, at best and final."""
    found = transferred()
    assert len(found) == 2 * 3 * 2 * 2
    for name, outcome in found:
        run, about = Run.open(FOLDER / name), outcome.settings["source_about"]
        source = Run.open(FOLDER / "studies" / "transfer-sources" / about["run"])
        assert source.config.seed == run.config.seed == about["seed"]
        assert source.config.model != run.config.model
        assert not outcome.made["git_revision"].endswith("changes")
        epoch = outcome.settings["epoch"]
        value = run.value_at(epoch, "robustness", f"acc_adv/{outcome.label}", "test", "adversarial")
        assert value == outcome.robust_accuracy > run.value_at(epoch, "evaluation", "acc_adv", "test", "adversarial")
        assert len(outcome) == 797


def test_the_page_shows_the_table_of_transfer_attacks_as_recorded():
    folders = [FOLDER / f"digits-{labels}-seed{seed}" for labels in ("hard", "sglr") for seed in (0, 1, 2)]
    shown = as_markdown(TABLES["transfer"]([Run.open(folder) for folder in folders], TableOptions()))
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert "\n".join(rows) in (FOLDER.parents[1] / "docs" / "reference-runs.md").read_text()


def test_the_page_on_precision_says_what_records_and_attacks_say():
    spec = importlib.util.spec_from_file_location("draw_precision", FOLDER.parents[1] / "docs" / "draw_precision.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    numbers = json.loads(page.NUMBERS.read_text())
    assert f"{page.BEGIN}\n{page.page(numbers)}\n{page.END}" in page.PAGE.read_text()
    for setting in page.SETTINGS:
        frame = page.compared(setting)
        assert len(frame) > 80
        assert (
            frame["overlap"].mean() > 0.9
        )  # as of seeds of one experiment, whose ranges miss each other one time in ten
        for one, two in zip(page.runs_of(setting, "fp32"), page.runs_of(setting, "bf16"), strict=True):
            assert (one.info["compute"]["precision"], two.info["compute"]["precision"]) == ("fp32", "bf16")
            assert one.info["hardware"] == two.info["hardware"]
    for row in (row for one in numbers["crafted"] for row in one["rows"]):
        assert abs(row["right_fp32"] - row["right_bf16"]) <= 0.005 * row["n"]
