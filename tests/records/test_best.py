"""Which epoch is the best: one answer of training, watching, tables, diagnosis and report."""

import re
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from overfit_lab.config import parse_config, to_yaml
from overfit_lab.records.best import Best, after_robustness, best_of, choosing, is_better
from overfit_lab.records.reader import Run
from overfit_lab.records.recorder import to_records
from overfit_lab.records.summary import best_epoch, second_weights, summarise_run
from overfit_lab.records.writer import RunWriter
from overfit_lab.sweeps.collect import _numbers
from overfit_lab.training import keeper as keeping
from overfit_lab.types import Clock, Value
from overfit_lab.views.diagnosis.drop import ends_of
from overfit_lab.views.diagnosis.readings import evaluations_of
from overfit_lab.views.figures.figb3 import epoch_of
from overfit_lab.views.live.alarm import Alarm
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.view import best_so_far, decays_so_far, look, view_of
from overfit_lab.views.report.sections import epochs as slider
from overfit_lab.views.tables.readings import epochs_of

REFERENCE = [
    path
    for path in sorted((Path(__file__).parents[2] / "runs" / "reference").glob("*-seed0/run.json"))
    if not re.search(r"noise\d", path.parent.name)
]
"""One run of every kind: another seed or rate of label noise is no other kind."""
SUFFIX = {"acc_adv": "adversarial", "acc_clean": "clean"}


@lru_cache(maxsize=1)
def followed(folder):
    run = Followed(folder)
    run.look()
    return run


def answers(run):
    """What everybody says the best epoch is, and the accuracy there where it is said, by who says so."""
    best = best_epoch(run)
    live = followed(run.folder)
    found = {"watch": best_so_far(live.numbers, after_robustness(live.config, live.info))}
    row = summarise_run(run)
    found["compare"] = (row["best_epoch"], row["chosen_on"])
    table = epochs_of(run)
    found["table"] = (table.best, table.chosen_on)
    collected = _numbers(run.folder)
    found["sweep collect"] = (collected["best_epoch"], collected["chosen_on"])
    found["report"] = slider._best(run)
    if run.epochs_with_arrays("confidence"):
        every = run.epochs_with_arrays("confidence")
        found["figb3"] = best.epoch if best.epoch not in every else epoch_of(run, "best")
    if (ends := ends_of(run)) is not None:
        found["diagnosis"] = (ends[0], ends[2])
    expected = {
        "watch": best,
        **dict.fromkeys(("compare", "table", "sweep collect"), (best.epoch, best.chosen_on)),
        **dict.fromkeys(("report", "figb3"), best.epoch),
        "diagnosis": (
            run.value_at(best.epoch, "evaluation", best.metric, "test", best.inputs),
            f"{best.what} accuracy on {best.split}",
        ),
    }
    return found, {who: expected[who] for who in found}


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.parent.name)
def test_everybody_names_the_same_epoch_of_a_committed_run(path):
    """``watch`` once called epoch 4 the best of a run of standard training that ``compare`` called 12."""
    run = Run.open(path.parent)
    if run.info["status"] == "imported":
        return
    found, expected = answers(run)
    assert found == expected
    kept = run.info.get("best")
    if kept is not None:
        assert Best(**kept) == best_epoch(run)
    live = followed(run.folder)
    assert look(Alarm(), live.numbers, [], after_robustness(live.config, live.info)) == evaluations_of(run).kind


class Quiet(Alarm):
    def look(self, epochs, train, test, decays, clean=None, n_test=None):
        return None


def test_watch_judges_the_accuracy_and_the_decays_that_a_diagnosis_judges():
    for name in ("digits-standard-seed0", "digits-hard-seed0", "cifar10-small-cosine-seed0"):
        run = Run.open(Path(__file__).parents[2] / "runs" / "reference" / name)
        live = followed(run.folder)
        view = view_of(live, Quiet(), live.changed)
        assert view.judged == evaluations_of(run).kind
        assert decays_so_far(live.info, live.numbers) == list(slider.decays([run]))


def kept_by_training(rows, *, robust, attacked, splits, monkeypatch):
    """What the keeper of checkpoints calls the best, given what each epoch's evaluation measured."""
    monkeypatch.setattr(keeping, "save_checkpoint", lambda *args, **kwargs: None)
    session = SimpleNamespace(
        given_up=False,
        objective=SimpleNamespace(robust=robust),
        setting=SimpleNamespace(attack=object() if attacked else None),
        data=SimpleNamespace(splits=dict.fromkeys(splits, (0,))),
        config=SimpleNamespace(checkpoint=SimpleNamespace(every=0, steps=0)),
    )
    keeper = keeping.CheckpointKeeper(session, Path("nowhere"), dict)
    for epoch, values in rows:
        snapshot = SimpleNamespace(clock=Clock(epoch, epoch, 99))
        keeper.on_epoch(SimpleNamespace(snapshot=snapshot, values=values))
    return keeper.best


def measured(stream, fields, splits, n):
    """Accuracies with many ties, and some that are no numbers; every third epoch is not evaluated."""
    for epoch in range(1, n + 1):
        yield (
            epoch,
            [
                Value(
                    field,
                    draw if (draw := stream.integers(0, 5) / 5) < 0.9 else np.nan,
                    split,
                    SUFFIX[field],
                    "given",
                    9,
                )
                for field in fields
                for split in splits
                if epoch % 3
            ],
        )


def written(folder, rows, *, probe="evaluation", status="running", info=None, **changes):
    config = parse_config({"name": "made", "epochs": 99, "data": {"name": "digits"}, **changes})
    with RunWriter.create(folder, to_yaml(config), {"status": status, **(info or {})}) as writer:
        for epoch, values in rows:
            writer.append(to_records(probe, values, Clock(epoch, epoch, 99), None))
    return Run.open(folder)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
@pytest.mark.parametrize(
    ("objective", "robust", "attacked"),
    [("pgd-at", True, True), ("pgd-at", True, False), ("standard", False, True), ("theirs:Loss", False, True)],
)
def test_everybody_names_the_epoch_whose_checkpoint_is_kept(
    tmp_path, monkeypatch, seed, splits, objective, robust, attacked
):
    fields = ("acc_clean", "acc_adv") if attacked else ("acc_clean",)
    rows = list(measured(np.random.default_rng(seed), fields, splits, 17))
    run = written(tmp_path / "run", rows, info={"robust": robust}, objective={"name": objective})
    kept = kept_by_training(rows, robust=robust, attacked=attacked, splits=splits, monkeypatch=monkeypatch)
    assert best_epoch(run) == kept
    assert kept.chosen_on == f"{'acc_adv' if robust and attacked else 'acc_clean'} on {splits[1]}"
    found, expected = answers(run)
    assert found == expected
    series = [(e, v.value) for e, vs in rows for v in vs if (v.field, v.split) == (kept.metric, kept.split)]
    largest = max(value for _, value in series if value == value)
    assert (kept.epoch, kept.value) == next((e, v) for e, v in series if v == largest)


def test_robust_accuracy_chooses_wherever_it_was_measured():
    """Clean accuracy on val goes on rising past the onset."""
    measured = {("acc_adv", "test"), ("acc_clean", "val"), ("acc_clean", "test")}
    assert choosing(True, lambda *place: place in measured) == ("acc_adv", "test")
    assert choosing(False, lambda *place: place in measured) == ("acc_clean", "val")
    assert choosing(True, lambda *place: place in measured, ("val",)) == ("acc_clean", "val")
    assert choosing(True, lambda *place: False) is None


def test_each_set_of_weights_has_its_own_best_epoch(tmp_path):
    rows = [(e, [Value("acc_adv", (5 - abs(e - 4)) / 10, "test", "adversarial", "given", 9)]) for e in range(1, 9)]
    run = written(tmp_path / "run", rows, probe="evaluation@swa")
    assert second_weights(run) == ["swa"]
    assert best_epoch(run, "swa") == Best(4, "acc_adv", "test", 0.5)


def test_the_first_of_equal_epochs_stays_and_no_number_is_never_best():
    assert best_of([1, 2, 3], [0.5, 0.7, 0.7], "acc_adv", "val") == Best(2, "acc_adv", "val", 0.7)
    assert best_of([1, 2], [np.nan, 0.1], "acc_adv", "val").epoch == 2
    assert best_of([1], [np.nan], "acc_adv", "val") is None
    assert not is_better(None, None)
    assert is_better(0.0, None)


def test_older_folders_say_by_the_objective_what_training_is_after(tmp_path):
    assert after_robustness(parse_config({}), {})
    assert not after_robustness(parse_config({"objective": {"name": "standard"}}), {"robust": "yes"})
    assert not after_robustness(parse_config({}), {"robust": False})
