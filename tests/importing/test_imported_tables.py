"""Tables of text and JSON become run folders: which column is what, which row is which epoch, what stays unknown."""

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import N, as_csv, curves

from overfit_lab.cli import import_
from overfit_lab.cli.main import run as command
from overfit_lab.config.permission import Permission, current, granted
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.importing import import_log
from overfit_lab.importing.columns import choose_columns
from overfit_lab.records.experiments import experiments, unrepeated
from overfit_lab.records.reader import Run, find_runs

ROBUST = ("evaluation", "acc_adv", "test", "adversarial")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(as_csv(curves()))
    return path


def values(folder, *number):
    return Run.open(folder).series(*(number or ROBUST))


def of(text, tmp_path, name="mine.csv", **options):
    """The one run of a log."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    said = []
    (folder,) = import_log(path, out=tmp_path / "runs", say=said.append, **options)
    return folder, " ".join(said)


def test_a_table_becomes_a_run_with_its_very_numbers(log, tmp_path):
    (folder,) = import_log(log, out=tmp_path / "runs", n_test=1000)
    series = values(folder)
    assert series["epoch"].tolist() == list(range(1, N + 1))
    assert series["value"].tolist() == [row["test_robust_acc"] for row in curves()]
    assert series["n"].tolist() == [1000] * N
    first = series.iloc[0]
    assert first["stderr"] == pytest.approx(np.sqrt(first["value"] * (1 - first["value"]) / 1000))
    assert values(folder, "training", "lr")["value"].tolist() == [0.1] * 15 + [0.01] * 15
    assert values(folder, "evaluation", "loss_adv", "test", "adversarial")["value"].tolist() == [1.5] * N


def test_what_a_log_does_not_say_stays_unknown(log, tmp_path):
    (folder,) = import_log(log, out=tmp_path / "runs")
    run = Run.open(folder)
    assert run.info["seed"] is None
    assert run.info["monitored"]["method"] is None
    assert run.sizes == {}
    assert {"data", "model", "attack", "epochs", "objective"} <= set(run.info["monitored"]["unknown"])
    assert not any(run.config.knows(key) for key in ("seed", "data.name", "model", "evaluation", "epochs"))
    assert run.records["n"].isna().all()
    assert run.records["step"].isna().all()
    assert run.records["stderr"].isna().all()


@pytest.mark.parametrize("view", ["diagnose", "table", "compare", "figure onset", "figure overview", "report", "watch"])
def test_every_view_takes_imported_runs_of_which_nothing_is_known(view, tmp_path, capsys):
    lines = [{"run": name, **row} for name in ("a/b", "c/d") for row in curves()]
    (tmp_path / "log.csv").write_text(as_csv(lines))
    out = tmp_path / "runs"
    assert command(["import", str(tmp_path / "log.csv"), "--run-column", "run", "--out", str(out)]) == 0
    name, *rest = view.split()
    to = ["--out", str(tmp_path / "page.html" if name == "report" else tmp_path / "figure.png")]
    runs = [str(out)] if name == "watch" else [str(out / "a-b"), str(out / "c-d")]
    capsys.readouterr()
    assert command([name, *rest, *runs, *(to if name in ("report", "figure") else [])]) == 0
    said = capsys.readouterr().out
    assert "PGD-20" not in said
    assert "digits" not in said
    assert "8/255" not in said


def test_runs_of_a_column_are_flat_folders_that_keep_their_names(tmp_path):
    names = ["svhn/a", "svhn-a", "..", "ü/ß", "x" * 300]
    lines = [{"run": name, **row} for name in names for row in curves(3)]
    folders = import_log(written(tmp_path, as_csv(lines)), run_column="run", out=tmp_path / "runs")
    assert len({folder.name.casefold() for folder in folders}) == 5
    assert [Run.open(folder).info["name"] for folder in folders] == names
    assert folders[1].name == "svhn-a"
    assert all(folder.parent == tmp_path / "runs" for folder in folders)


def written(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_run_is_an_experiment_of_its_own_and_seeds_are_found_by_a_pattern(tmp_path):
    lines = [{"run": f"{name}_s{seed}", **row} for name in "ab" for seed in (1, 2) for row in curves(3)]
    log = written(tmp_path, as_csv(lines), "runs.csv")
    alone = find_runs(import_log(log, run_column="run", out=tmp_path / "alone"))
    assert [len(part) for part in experiments(alone)] == [1, 1, 1, 1]
    assert unrepeated(alone)[1] == ()
    seeds = import_log(log, run_column="run", seed_pattern="_s(?P<seed>[0-9]+)", out=tmp_path / "seeds")
    parts = experiments(find_runs(seeds))
    assert [[run.config.seed for run in part] for part in parts] == [[1, 2], [1, 2]]
    with pytest.raises(ConfigError, match="a group called seed"):
        import_log(log, seed_pattern="_s[0-9]+", out=tmp_path / "c")
    with pytest.raises(ConfigError, match="is not in the name 'runs' of a run"):
        import_log(log, seed_pattern="_s(?P<seed>[0-9]+)", skip=["run"], out=tmp_path / "c")


def test_the_same_import_again_changes_nothing_and_another_is_refused(log, tmp_path):
    (folder,) = import_log(log, out=tmp_path / "runs")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    import_log(log, out=tmp_path / "runs")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(RunFolderError, match="holds another import; give --overwrite"):
        import_log(log, out=tmp_path / "runs", n_test=10)
    import_log(log, out=tmp_path / "runs", n_test=10, overwrite=True)
    assert Run.open(folder).sizes == {"test": 10}
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    other = tmp_path / "runs" / "other"
    other.mkdir()
    (other / "file").touch()
    with pytest.raises(RunFolderError, match="is not empty and no imported log"):
        import_log(written(tmp_path, as_csv(curves()), "other.csv"), out=tmp_path / "runs", overwrite=True)


def test_a_dry_run_writes_nothing(log, tmp_path, capsys):
    assert command(["import", str(log), "--out", str(tmp_path / "runs"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "epochs 1 to 30" in said
    assert "not known: n_train, n_test, method" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["tsv", "blanks", "semicolons", "gz", "utf-16", "lines", "array", "columns", "crlf"])
def test_every_writing_of_a_table_gives_the_same_records(kind, log, tmp_path):
    rows = curves()
    text = {
        "tsv": as_csv(rows, "\t"),
        "blanks": as_csv(rows, "\t").replace("\t", "   "),
        "semicolons": as_csv(rows, ";").replace(".", ","),
        "gz": gzip.compress(as_csv(rows).encode()),
        "utf-16": as_csv(rows).encode("utf-16"),
        "lines": "\n".join(map(json.dumps, rows)),
        "array": json.dumps(rows),
        "columns": json.dumps({key: [row[key] for row in rows] for key in rows[0]}),
        "crlf": as_csv(rows).replace("\n", "\r\n"),
    }[kind]
    (plain,) = import_log(log, out=tmp_path / "plain")
    folder, _ = of(text, tmp_path, "other.log")
    assert (folder / "records.jsonl").read_text() == (plain / "records.jsonl").read_text()


NAMES = {
    "Test Robust Acc": "test_robust_acc",
    "test/pgd20_acc": "test_robust_acc",
    "val_adv_accuracy": "val_robust_acc",
    "Nat Val Acc.": "val_acc",
    "trainRobustLoss": "train_robust_loss",
    "Learning Rate": "lr",
    "lr-SGD": "lr",
    "test_robust_error": "test_robust_error",
    "test/prec@1 (natural)": "test_acc",
    "test_robust_acc_ema": "test_robust_acc@ema",
    "test/adversarial/evaluation/acc_adv": "test/adversarial/evaluation/acc_adv",
}


@pytest.mark.parametrize(("column", "field"), NAMES.items())
def test_a_clear_name_needs_no_word(column, field):
    assert choose_columns(["epoch", column], mapping={}).columns == {"epoch": "epoch", field: column}


@pytest.mark.parametrize("column", ["best_test_acc", "test_autoattack_acc", "time", "test_acc_top5", "train_test_acc"])
def test_a_name_that_says_something_else_is_passed_over(column):
    assert choose_columns(["epoch", column], mapping={}).passed_over == (column,)


AMBIGUOUS = [
    (["robust_acc"], "'test_robust_acc', 'train_robust_acc' or 'val_robust_acc'", "--map test_robust_acc=robust_acc"),
    (["test_pgd10_acc", "test_pgd20_acc"], "test_robust_acc may be", "--map test_robust_acc=test_pgd20_acc"),
    (["test_acc", "test_robust_acc", "trainAcc"], "'trainAcc' may be", "--map train_robust_acc=trainAcc"),
    (["eval_robust_acc"], "'test_robust_acc' or 'val_robust_acc'", "--skip eval_robust_acc"),
]


@pytest.mark.parametrize(("columns", "text", "option"), AMBIGUOUS)
def test_an_ambiguous_name_is_asked_and_without_anybody_ends_with_the_choices(columns, text, option, tmp_path, capsys):
    log = written(tmp_path, as_csv([dict.fromkeys(["epoch", *columns], 1)]))
    assert command(["import", str(log), "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert text in said
    assert option in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    asked = []

    def choose(question):
        asked.append(question)
        return next(iter(question.options))

    choose_columns(["epoch", *columns], mapping={}, choose=choose)
    assert len(asked) == 1
    name, column = option.split()[1].split("=") if "=" in option else (None, option.split()[1])
    extra = {"mapping": {name: column}} if name else {"mapping": {}, "skip": [column]}
    choose_columns(["epoch", *columns], **extra)


def test_a_terminal_asks_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr(import_.typer, "prompt", lambda *_, **__: 2)
    columns = ["epoch", "eval_robust_acc"]
    chosen = choose_columns(columns, mapping={}, choose=import_._asked)
    assert chosen.columns == {"epoch": "epoch", "val_robust_acc": "eval_robust_acc"}


def test_fractions_and_percentages_are_told_by_their_range(tmp_path):
    rows = [{"epoch": i, "test_acc": 80 + i, "test_robust_acc": 40.5} for i in (1, 2)]
    folder, said = of(as_csv(rows), tmp_path)
    assert values(folder)["value"].tolist() == [0.405, 0.405]
    assert "percentages, by their range" in said
    low = [{"epoch": 1, "test_acc": 0.9, "test_robust_acc": 0.5}]
    folder, said = of(as_csv(low), tmp_path, "low.csv", percent=True)
    assert values(folder)["value"].tolist() == [0.005]
    assert "percentages, as said" in said
    signs = "epoch,test_robust_acc\n1,0.5%\n2,0.7%\n"
    assert values(of(signs, tmp_path, "signs.csv")[0])["value"].tolist() == pytest.approx([0.005, 0.007])
    with pytest.raises(ConfigError, match=r"looks like a percentage, 'test_robust_acc' to 0\.5"):
        of(as_csv([{"epoch": 1, "test_acc": 90, "test_robust_acc": 0.5}]), tmp_path, "mixed.csv")
    with pytest.raises(ConfigError, match=r"mine.csv, line 2: 'test_acc' is 81, expected a fraction"):
        of(as_csv(rows), tmp_path, percent=False)
    with pytest.raises(ConfigError, match=r"line 3: 'test_acc' is 101, expected 0 to 100 percent"):
        of("epoch,test_acc\n1,50\n2,101\n", tmp_path)


def test_errors_become_accuracies(tmp_path):
    folder, _ = of("epoch,test_robust_error\n1,60\n2,55\n", tmp_path)
    assert values(folder)["value"].tolist() == pytest.approx([0.4, 0.45])


def test_epochs_from_zero_are_completed_epochs(tmp_path):
    rows = [{**row, "epoch": row["epoch"] - 1} for row in curves(4)]
    folder, said = of(as_csv(rows), tmp_path)
    assert values(folder)["epoch"].tolist() == [1, 2, 3, 4]
    assert "counted from 0: 1 is added" in said
    before = [{**rows[0], "train_acc": "", "train_robust_acc": ""}, *curves(3)]
    assert values(of(as_csv(before), tmp_path, "before.csv")[0])["epoch"].tolist() == [0, 1, 2, 3]
    folder, _ = of(as_csv(rows), tmp_path, "said.csv", first_epoch=1)
    assert values(folder)["epoch"].tolist() == [0, 1, 2, 3]


def test_steps_become_epochs_and_the_last_row_of_each_counts(tmp_path):
    rows = [{"step": step, "test_robust_acc": step / 1000} for step in range(10, 301, 10)]
    with pytest.raises(ConfigError, match=r"its rows are 10 apart.*--steps-per-epoch N"):
        of(as_csv(rows), tmp_path)
    folder, said = of(as_csv(rows), tmp_path, steps_per_epoch=100)
    assert values(folder)["value"].tolist() == [0.1, 0.2, 0.3]
    assert "of each the last row counts" in said
    assert Run.open(folder).records["step"].tolist() == [100, 200, 300]
    zero = [{**row, "step": row["step"] - 1} for row in rows]
    assert values(of(as_csv(zero), tmp_path, "z.csv", steps_per_epoch=100)[0])["value"].tolist() == [0.1, 0.2, 0.3]
    _, said = of(as_csv(rows[:24]), tmp_path, "cut.csv", steps_per_epoch=100)
    assert "epoch 3 is not complete in the log (step 240), it is left out" in said
    with pytest.raises(ConfigError, match="--steps-per-epoch 0"):
        of(as_csv(rows), tmp_path, steps_per_epoch=0)


def test_rows_that_count_by_one_are_epochs(tmp_path):
    folder, said = of("_step,test_robust_acc\n0,0.1\n1,0.2\n", tmp_path)
    assert values(folder)["epoch"].tolist() == [1, 2]
    assert "goes up by one" in said


def test_rows_may_be_epochs_where_the_user_says_so(tmp_path):
    with pytest.raises(ConfigError, match="--map epoch=row"):
        of("test_robust_acc\n0.1\n0.2\n", tmp_path)
    folder, _ = of("test_robust_acc\n0.1\n0.2\n", tmp_path, mapping={"epoch": "row"})
    assert values(folder)["epoch"].tolist() == [1, 2]


def test_a_resumed_run_keeps_what_was_said_last(tmp_path):
    rows = curves(10)
    again = [{**row, "test_robust_acc": 0.1} for row in rows[5:8]]
    folder, said = of(as_csv(rows + again), tmp_path)
    assert values(folder)["epoch"].tolist() == list(range(1, 9))
    assert values(folder)["value"].tolist()[5:] == [0.1] * 3
    assert "line 12 goes back to epoch 6: epochs 6 to 10 of before are dropped" in said
    header = as_csv(rows[:5]) + as_csv(rows[5:])
    folder, said = of(header, tmp_path, "twice.csv")
    assert len(values(folder)) == 10
    assert "line 7 has the columns' names again" in said


def test_several_runs_are_not_taken_for_one(tmp_path):
    lines = [{"seed": seed, "model": name, **row} for name in "ab" for seed in (0, 1) for row in curves(3)]
    with pytest.raises(ConfigError, match=r"line 5: epochs go back where 'seed' becomes '1'.*--run-column seed"):
        of(as_csv(lines), tmp_path)
    folders = import_log(tmp_path / "mine.csv", run_column="model,seed", out=tmp_path / "runs")
    assert [folder.name for folder in folders] == ["a-0", "a-1", "b-0", "b-1"]


def test_what_another_loop_trained_is_not_trained_again(log, tmp_path, capsys):
    (folder,) = import_log(log, out=tmp_path / "runs")
    assert command(["train", str(folder / "config.yaml"), "--out", str(tmp_path / "new")]) == 2
    assert "data, model, objective, labels, optimizer are not known" in capsys.readouterr().err
    assert command(["train", str(folder / "config.yaml"), "--resume", "--out", str(folder)]) == 2
    assert "another loop trained this run" in capsys.readouterr().err


def test_rows_of_one_epoch_are_merged(tmp_path):
    folder, said = of("epoch,train_robust_acc,test_robust_acc\n1,0.5,\n1,,0.4\n2,0.6,\n2,0.7,\n2,,0.3\n", tmp_path)
    assert values(folder, "evaluation", "acc_adv", "train")["value"].tolist() == [0.5, 0.7]
    assert values(folder)["value"].tolist() == [0.4, 0.3]
    assert "epochs 2 have several rows" in said


def test_missing_and_unordered_epochs_are_said(tmp_path):
    _, said = of("epoch,test_robust_acc\n1,0.1\n2,0.2\n5,0.3\n", tmp_path)
    assert "epochs missing: 3 to 4" in said
    folder, said = of("epoch,test_robust_acc\n3,0.3\n2,0.2\n1,0.1\n", tmp_path, "down.csv")
    assert values(folder)["value"].tolist() == [0.1, 0.2, 0.3]
    assert "sorted" in said


def test_what_is_not_finite_to_the_end_has_diverged_and_holes_are_holes(tmp_path):
    folder, said = of("epoch,test_robust_loss\n1,1.0\n2,nan\n3,inf\n", tmp_path)
    assert Run.open(folder).records["value"].isna().tolist() == [False, True, True]
    assert "test_robust_loss is not finite from epoch 2 on" in said
    folder, said = of("epoch,test_robust_loss\n1,1.0\n2,nan\n3,2.0\n", tmp_path, "holes.csv")
    assert Run.open(folder).records["epoch"].tolist() == [1, 3]
    assert "has no number at epochs 2" in said


WRONG = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "only names": ("epoch,test_acc\n", "has names of columns and no rows"),
    "word": ("epoch,test_acc\n1,0.1\n2,many\n", r"mine.csv, line 3: 'test_acc' is 'many', expected a number"),
    "epoch": ("epoch,test_acc\n1,0.1\n,0.2\n", r"line 3: 'epoch' is '', expected an epoch"),
    "negative": ("epoch,test_acc\n-1,0.1\n", r"line 2: 'epoch' is '-1'"),
    "ragged": ("epoch,test_acc\n1,0.1,7\n2,0.2\n", r"line 2: has 3 cells, the first line has 2 names"),
    "short": ("epoch,test_acc\n1\n2,0.2\n", r"line 2: has 1 cells"),
    "twice": ("epoch,test_acc,test_acc\n1,0.1,0.2\n", r"line 1: column 'test_acc' comes twice"),
    "numbers": ("1,2,3\n4,5,6\n", "expected names of columns|no format knows it"),
    "latin": ("epoch,test_acc,naïve\n1,0.1,0\n".encode("latin-1"), r"line 1: is not UTF-8 text; save it as UTF-8"),
    "zeros": (b"epoch,test_acc\n1,\x000.1\n", r"line 2: holds zero bytes"),
    "gzip": (gzip.compress(b"epoch,test_acc\n1,0.1\n")[:-9], "cannot be read"),
    "json": ('{"epoch": 1, "test_acc": 0.1}\n{"epoch": 2,\n{"epoch": 3}\n', r"line 2: is not JSON"),
    "list": ("[1, 2]", "no format knows it|expected a JSON object"),
    "nothing": ("epoch,time\n1,5\n", "no column is known to be an accuracy or a loss"),
    "bool": ('[{"epoch": 1, "test_acc": true}]', "row 1: 'test_acc' is 'True', expected a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_one_line_that_names_the_place(case, tmp_path, capsys):
    text, said = WRONG[case]
    path = tmp_path / "mine.csv" if case not in ("json", "list", "bool") else tmp_path / "mine.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert command(["import", str(path), "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert len(error) < 600
    assert re.search(said, error), error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--map", "test_robust=x"], "unknown field 'test_robust'"),
        (["--map", "test_acc=no"], "has no column 'no'"),
        (["--map", "test_acc"], "expected FIELD=COLUMN"),
        (["--skip", "no"], "has no column 'no'"),
        (["--run-column", "no"], "has no column 'no'"),
        (["--n-test", "0"], "--n-test 0: expected 1 or more"),
        (["--first-epoch", "2"], "--first-epoch 2: expected 0 or 1"),
        (["--format", "cvs"], "unknown log format 'cvs'; did you mean csv?"),
    ],
)
def test_wrong_options_are_one_line(arguments, said, log, tmp_path, capsys):
    assert command(["import", str(log), "--out", str(tmp_path / "runs"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path):
    folder, said = of(as_csv(curves(5))[:-25], tmp_path)
    assert len(values(folder)) == 4
    assert "line 6 is cut off" in said
    folder, said = of("\n".join(map(json.dumps, curves(5)))[:-25], tmp_path, "cut.jsonl")
    assert len(values(folder)) == 4
    assert "line 5 is cut off" in said


def test_files_by_a_pattern_are_a_run_each(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, as_csv(curves(3)), "metrics.csv")
    folders = import_log(str(tmp_path / "*" / "metrics.csv"), out=tmp_path / "runs")
    assert [folder.name for folder in folders] == ["a", "b"]
    for name in ("a", "b"):
        (tmp_path / name / "metrics.csv").rename(tmp_path / name / "same.csv")
    folders = import_log([tmp_path / name / "same.csv" for name in "ab"], out=tmp_path / "more")
    assert [Run.open(folder).info["name"] for folder in folders] == ["a/same", "b/same"]
    with pytest.raises(ConfigError, match="matches no file"):
        import_log(str(tmp_path / "*.none"), out=tmp_path / "runs")


def test_thousands_of_columns_are_no_matter(tmp_path):
    row = {"epoch": 1, "test_robust_acc": 0.4, **{f"weight {i}": i for i in range(5000)}}
    folder, said = of(as_csv([row]), tmp_path)
    assert len(values(folder)) == 1
    assert "and 4992 more" in said
    assert len(said) < 1000


def test_groups_in_json_and_long_tables_are_columns(tmp_path):
    folder, _ = of(json.dumps([{"epoch": 1, "test": {"robust_acc": 0.3, "images": [1]}}]), tmp_path, "a.json")
    assert values(folder)["value"].tolist() == [0.3]
    long = "run_id,key,value,step\n" + "".join(
        f"{run},{key},{0.1 * step},{step}\n"
        for run in "xy"
        for key in ("test_acc", "test_robust_acc")
        for step in (1, 2)
    )
    folders = import_log(written(tmp_path, long, "long.csv"), out=tmp_path / "long")
    assert [values(folder)["value"].tolist() for folder in folders] == [[0.1, 0.2]] * 2


DAMAGE = st.tuples(
    st.sampled_from(["delete", "insert", "swap", "cut", "double"]), st.integers(0, 400), st.binary(max_size=6)
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(DAMAGE, min_size=1, max_size=4))
def test_a_damaged_table_is_read_or_refused_in_one_line(tmp_path_factory, damages):
    content = bytearray(as_csv(curves(8)).encode())
    for how, place, extra in damages:
        place %= len(content) or 1
        if how == "delete":
            del content[place : place + len(extra) + 1]
        elif how == "insert":
            content[place:place] = extra
        elif how == "swap":
            content[place : place + len(extra)] = extra
        elif how == "cut":
            del content[place:]
        else:
            content[place:place] = content[place : place + 40]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "log.csv").write_bytes(bytes(content))
    try:
        runs = import_log(folder / "log.csv", out=folder / "runs")
    except ConfigError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 800
        assert not (folder / "runs").exists()
    else:
        for run in find_runs(runs):
            assert len(run.records)
            assert run.config.is_monitored
        assert not list(Path(folder / "runs").glob(".*"))


def test_columns_of_steps_beside_one_of_epochs_ask_nothing(tmp_path):
    text = "epoch,_step,trainer/global_step,test_robust_acc\n1,0,50,0.5\n2,1,,0.4\n"
    folder, _ = of(text, tmp_path)
    assert Run.open(folder).records["step"].tolist()[:1] == [50]
    folder, _ = of("epoch,iteration,global_step,test_robust_acc\n1,0,50,0.5\n", tmp_path, "two.csv")
    assert Run.open(folder).records["step"].isna().all()


def test_names_in_a_log_allow_no_import(tmp_path):
    lines = [{"run": "planted:Thing", **row} for row in curves(3)]
    with granted(Permission()):
        (folder,) = import_log(written(tmp_path, as_csv(lines)), run_column="run", out=tmp_path / "runs")
        assert not current().covers("planted:Thing")
    assert Run.open(folder).info["name"] == "planted:Thing"


def test_a_file_whose_name_is_no_text_is_read(tmp_path, capsys):
    path = os.fsencode(tmp_path) + b"/na\xefve.csv"
    Path(os.fsdecode(path)).write_text(as_csv(curves(3)))
    assert command(["import", os.fsdecode(path), "--out", str(tmp_path / "runs")]) == 0
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["na-ve"]
    assert command(["import", os.fsdecode(path), "--map", "x=y", "--out", str(tmp_path / "runs")]) == 2


THIN = {
    "val alone": {"val_robust_acc": "test_robust_acc", "train_robust_acc": "train_robust_acc"},
    "test alone": {"test_robust_acc": "test_robust_acc"},
    "clean alone": {"test_acc": "test_acc", "train_acc": "train_acc"},
}


@pytest.mark.parametrize("case", THIN)
def test_views_take_logs_of_few_columns(case, tmp_path, capsys):
    rows = [{"epoch": row["epoch"], **{name: row[key] for name, key in THIN[case].items()}} for row in curves(12)]
    folder, _ = of(as_csv(rows), tmp_path)
    for view in ("diagnose", "table", "compare", "watch"):
        assert command([view, str(folder)]) == 0, capsys.readouterr().err
