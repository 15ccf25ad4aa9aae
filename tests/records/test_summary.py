"""Best, final and diff against numbers known by construction."""

import pandas as pd
import pytest

from overfit_lab.errors import RunFolderError
from overfit_lab.records.best import Best
from overfit_lab.records.reader import find_runs
from overfit_lab.records.recorder import to_records
from overfit_lab.records.summary import best_epoch, common_name, compare, summarise
from overfit_lab.records.writer import RunWriter
from overfit_lab.types import Clock, Value
from overfit_lab.views.tables.compare import format_table
from run_factory import make_run


def test_best_final_and_diff_by_construction(tmp_path):
    row = summarise([make_run(tmp_path / "hard", "hard")]).iloc[0]
    assert row["best_epoch"] == 12
    assert row["chosen_on"] == "acc_adv on test"
    assert row["robust_best"] == pytest.approx(50.0)
    assert row["robust_final"] == pytest.approx(40.0)
    assert row["robust_diff"] == pytest.approx(10.0)
    assert row["clean_best"] == pytest.approx(60.0)
    assert row["clean_final"] == pytest.approx(100 * (0.4 + 20 / 60))
    assert row["clean_diff"] == pytest.approx(60 - 100 * (0.4 + 20 / 60))
    assert row["robust_train_final"] == pytest.approx(80.0)
    assert row["iiw_final"] == 2000
    assert row["ece_adv_final"] == pytest.approx(0.3)
    assert row["noise"] == "symmetric 0.3"


def test_validation_chooses_where_there_is_one(tmp_path):
    run = make_run(tmp_path / "v", "hard", val=True)
    assert best_epoch(run) == Best(7, "acc_adv", "val", 0.4)
    row = summarise([run]).iloc[0]
    assert row["robust_best"] == pytest.approx(100 * 0.5 * 7 / 12)


def test_standard_training_is_chosen_by_clean_accuracy(tmp_path):
    row = summarise([make_run(tmp_path / "s", "hard", objective="standard")]).iloc[0]
    assert row["chosen_on"] == "acc_clean on test"
    assert row["best_epoch"] == 20
    assert pd.isna(row["robust_best"])
    assert row["labels"] == "standard, hard"


def test_seeds_are_averaged_and_other_settings_kept_apart(tmp_path):
    runs = [make_run(tmp_path / f"hard-seed{seed}", "hard", seed) for seed in (0, 1, 2)]
    runs.append(make_run(tmp_path / "sglr-seed0", "sglr", 0))
    table = compare(runs)
    assert table["run"].tolist() == ["hard", "sglr-seed0"]
    assert table["n_seeds"].tolist() == [3, 1]
    first = table.iloc[0]
    assert first["robust_best"] == pytest.approx(51.0)
    assert first["robust_best_std"] == pytest.approx(1.0)
    assert first["iiw_final"] == pytest.approx(2001.0)
    assert pd.isna(table.iloc[1]["robust_best_std"])


def test_empty_runs_are_refused(tmp_path):
    run = make_run(tmp_path / "b")
    (tmp_path / "b" / "records.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="holds no evaluation"):
        best_epoch(type(run).open(tmp_path / "b"))


def test_a_number_of_an_earlier_epoch_is_not_called_final(tmp_path):
    """A probe run later on the best checkpoint alone once filled the final columns."""
    make_run(tmp_path / "r", probes=False)
    with RunWriter.reopen(tmp_path / "r") as writer:
        value = [Value("iiw", 7.0, "train", "adversarial")]
        writer.append_posthoc(to_records("iiw", value, Clock(12, 120, 20), 0.1))
    (run,) = find_runs([tmp_path / "r"])
    assert summarise([run]).iloc[0]["iiw_final"] is None
    assert "IIW" not in format_table(compare([run]))
    with RunWriter.reopen(tmp_path / "r") as writer:
        value = [Value("iiw", 9.0, "train", "adversarial")]
        writer.append_posthoc(to_records("iiw", value, Clock(20, 200, 20), 0.1))
    assert summarise(find_runs([tmp_path / "r"])).iloc[0]["iiw_final"] == 9.0


def test_unfinished_runs_are_marked(tmp_path):
    """The final value of a run that was interrupted is not that of a finished one; the table once did not say so."""
    runs = [make_run(tmp_path / "done", "hard"), make_run(tmp_path / "cut", "sglr")]
    assert "status" not in format_table(compare(runs))
    with RunWriter.reopen(tmp_path / "cut") as writer:
        writer.update_info(status="interrupted")
    text = format_table(compare(find_runs([tmp_path / "done", tmp_path / "cut"])), "markdown")
    assert "| done | completed |" in text
    assert "| cut | interrupted |" in text


def test_common_names():
    assert common_name(["a-hard-seed0", "a-hard-seed11"]) == "a-hard"
    assert common_name(["x"]) == "x"
    assert common_name(["abc", "xyz"]) == "abc"


def test_second_weights_have_a_row_of_their_own(tmp_path):
    run = make_run(tmp_path / "swa", "hard", regularizers=["swa"])
    with RunWriter.reopen(run.folder) as writer:
        for epoch in (11, 15, 20):
            clock = Clock(epoch, 10 * epoch, 20)
            for inputs, field, accuracy in (
                ("clean", "acc_clean", 0.5 + epoch / 100),
                ("adversarial", "acc_adv", 0.3 + epoch / 100),
            ):
                value = Value(field, accuracy, "test", inputs, "given", 100)
                writer.append(to_records("evaluation@swa", [value], clock, None))
            value = Value("ece", epoch / 100, "test", "adversarial")
            writer.append(to_records("calibration@swa", [value], clock, None))
    raw, swa = (row for _, row in summarise(find_runs([run.folder])).iterrows())
    assert (raw["labels"], raw["weights"], swa["weights"]) == ("hard + swa", "raw", "swa")
    assert (swa["best_epoch"], swa["final_epoch"]) == (20, 20)
    assert swa["robust_final"] == pytest.approx(50.0)
    assert swa["ece_adv_final"] == pytest.approx(0.2)
    assert raw["robust_final"] == pytest.approx(40.0)
    assert pd.isna(swa["iiw_final"])
    assert "weights" in format_table(compare(find_runs([run.folder])))
    assert "weights" not in format_table(compare([make_run(tmp_path / "plain", "hard")]))
