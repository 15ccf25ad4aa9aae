"""The table of transfer attacks against numbers by construction, and what is said of their sources."""

import json

import numpy as np
import pytest
from made import imported_run, measure, numbers, options, small_run

from overfit_lab.config.catalog import TABLES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.arrays import write_arrays
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.views.tables.as_text import as_plain
from overfit_lab.views.tables.sources import sources_of, split_label

transfer = TABLES["transfer"]
DEEP = "from net-deep (MLP (depth 4), PGD-AT), PGD-20"


def attacked(run, best, final, label="transfer-net-deep-seed0-20", about=True, n=100):
    """The run with accuracies at epochs 2 (the best) and 3 (the final one), and an outcome that names the source."""
    if best is not None:
        measure(run, 2, n=n, **{f"acc_adv/{label}": best})
    run = measure(run, 3, n=n, **{f"acc_adv/{label}": final})
    if about:
        what = {"run": "net-deep-seed0", "model": "MLP (depth 4)", "method": "PGD-AT"}
        notes = {"settings": {"label": label, "source": "net-deep-seed0", "source_about": what}}
        path = layout.evaluation_path(run.folder, label, "test", n, 3)
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, {"notes": np.array(json.dumps(notes)), "y": np.zeros(3)})
    return Run.open(run.folder)


def test_a_source_is_a_group_of_columns_over_its_seeds(tmp_path):
    """Each seed of the target is attacked from the source of its seed; the best epoch is that of PGD."""
    runs = [
        attacked(small_run(tmp_path / "a", 0), 0.7, 0.6),
        attacked(small_run(tmp_path / "b", 1), 0.8, 0.4, "transfer-net-deep-seed1-20"),
        attacked(small_run(tmp_path / "c", 0, "sglr"), 0.9, 0.9),
    ]
    table = transfer(runs, options())
    assert numbers(table, "PGD-AT") == pytest.approx({f"{DEEP} best": 75, f"{DEEP} final": 50, f"{DEEP} diff": 25})
    assert table.rows[0].cells[2].std == pytest.approx(15 * 2**0.5)
    assert table.rows[0].seeds == 2
    assert numbers(table, "PGD-AT + SGLR")[f"{DEEP} diff"] == 0
    assert "Test accuracy in % under attacks on other networks" in table.caption[0]
    assert not table.notes


def test_sources_attacks_and_architectures_are_never_mixed(tmp_path):
    run = attacked(small_run(tmp_path / "a"), 0.7, 0.6)
    run = attacked(run, 0.5, 0.3, "transfer-net-deep-seed0-50x5-margin-eps4of255", about=False)
    run = attacked(run, None, 0.2, "transfer-other-20", about=False, n=60)
    table = transfer([run], options())
    other, unusual = "from other, PGD-20", DEEP.replace("PGD-20", "PGD-50, 5 restarts, margin, eps4/255")
    assert [name for name, _ in table.groups()] == [DEEP, unusual, other]
    found = numbers(table, "PGD-AT")
    assert found[f"{unusual} final"] == pytest.approx(30)
    assert found[f"{other} final"] == pytest.approx(20)
    assert found[f"{other} diff"] is None
    assert f"{other}: on 60 of 100 test images." in table.notes
    assert any(
        note.startswith(f"– {other}: not measured") and "--checkpoint best,final`" in note for note in table.notes
    )


def test_of_several_runs_of_a_source_a_target_has_the_mean(tmp_path):
    run = attacked(small_run(tmp_path / "a"), 0.7, 0.6)
    run = attacked(run, 0.5, 0.2, "transfer-net-deep-seed1-20")
    table = transfer([run], options())
    assert numbers(table, "PGD-AT") == pytest.approx({f"{DEEP} best": 60, f"{DEEP} final": 40, f"{DEEP} diff": 20})
    assert table.rows[0].cells[0].n == 1
    assert f"{DEEP}: the mean over up to 2 runs of the source for each target." in table.notes


def test_records_without_outcomes_and_damaged_ones_still_make_a_table(tmp_path):
    run = attacked(small_run(tmp_path / "a"), 0.7, 0.6, about=False)
    assert transfer([run], options()).groups() == [("from net-deep, PGD-20", 3)]
    layout.evaluations(run.folder).mkdir()
    write_arrays(layout.evaluations(run.folder) / "transfer-x-test-9-0003.npz", {"notes": np.array("no json")})
    assert transfer([run], options()).groups() == [("from net-deep, PGD-20", 3)]


def test_the_paper_has_columns_of_its_own_below_the_same_method(tmp_path):
    runs = [attacked(small_run(tmp_path / name, 0, name), 0.7, 0.6) for name in ("hard", "sglr", "als")]
    table = transfer(runs, options(published=True))
    assert [row.label for row in table.rows] == [
        "PGD-AT",
        "PGD-AT, published (Tab. B.3)",
        "PGD-AT + SGLR",
        "PGD-AT + SGLR, published (Tab. B.3)",
        "PGD-AT + ALS",
    ]
    theirs = numbers(table, "PGD-AT + SGLR, published (Tab. B.3)")
    assert theirs[f"{DEEP} best"] is None
    assert {key: value for key, value in theirs.items() if "ResNet-34" in key} == {
        "from ResNet-34 (the paper's column 1) best": 64.0,
        "from ResNet-34 (the paper's column 1) final": 64.1,
        "from ResNet-34 (the paper's column 1) diff": -0.1,
        "from ResNet-34 (the paper's column 2, PGD-10) best": 72.7,
        "from ResNet-34 (the paper's column 2, PGD-10) final": 72.9,
        "from ResNet-34 (the paper's column 2, PGD-10) diff": -0.2,
    }
    assert numbers(table, "PGD-AT, published (Tab. B.3)")["from ResNet-50 (the paper's column 2, PGD-10) diff"] == 1.5
    assert numbers(table, "PGD-AT + ALS")["from ResNet-50 (the paper's column 1) best"] is None
    assert any("The paper's sources are other networks than ours" in note for note in table.notes)
    assert "82.7" in as_plain(table)


def test_weights_from_elsewhere_have_one_checkpoint(tmp_path):
    run = imported_run(tmp_path / "a", **{"acc_adv/transfer-net-20": 0.4})
    assert numbers(transfer([run], options()), "a (imported)") == pytest.approx(
        {"from net, PGD-20 best": None, "from net, PGD-20 final": 40, "from net, PGD-20 diff": None}
    )


def test_what_cannot_be_shown_is_said_in_one_line(tmp_path):
    run = small_run(tmp_path / "a")
    with pytest.raises(
        RunFolderError, match="no transfer attack in the records; `overfit-lab evaluate RUN --attack tra"
    ):
        transfer([run], options())
    with pytest.raises(ConfigError, match="--attack square: has no meaning"):
        transfer([attacked(run, 0.7, 0.6)], options(attacks=("square",)))


@pytest.mark.parametrize(
    ("label", "source", "attack"),
    [
        ("transfer-run-3-20", "run-3", "PGD-20"),
        ("transfer-run-initial-20", "run-initial", "PGD-20"),
        ("transfer-r0.2-seed11-best-7", "r0.2-best", "PGD-7"),
        ("transfer-seed0-5x2-dlr", "seed0", "PGD-5, 2 restarts, dlr"),
        ("transfer-a_seed1-20-l2-eps128of255-step2of255", "a", "PGD-20, l2, eps128/255, step2/255"),
        ("square", "", ""),
        ("pgd-20", "", ""),
    ],
)
def test_names_are_taken_apart(label, source, attack):
    assert split_label(label) == (source, attack)


def test_all_labels_of_a_run_belong_to_one_source_each(tmp_path):
    run = attacked(attacked(small_run(tmp_path / "a"), 0.7, 0.6), 0.6, 0.5, "transfer-other-20")
    found = sources_of([run])
    assert sorted(sum((found.of(run, source) for source in found.all()), ())) == [
        "transfer-net-deep-seed0-20",
        "transfer-other-20",
    ]
