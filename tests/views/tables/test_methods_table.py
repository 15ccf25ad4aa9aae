"""The table of methods against numbers worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import imported_run, measure, numbers, options, small_run

from overfit_lab.config.catalog import TABLES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.views.tables.writing import FORMATS

methods = TABLES["methods"]


def test_best_final_and_diff_by_hand(tmp_path):
    table = methods([small_run(tmp_path / "a")], options())
    found = numbers(table, "PGD-AT")
    assert found == pytest.approx(
        {
            "Natural best": 70,
            "Natural final": 80,
            "Natural diff": -10,
            "PGD-20 best": 50,
            "PGD-20 final": 45,
            "PGD-20 diff": 5,
        }
    )
    assert all(cell.std is None for cell in table.rows[0].cells)
    assert "one seed each" in table.caption[0]


def test_two_seeds_mean_and_sample_deviation_and_diff_seed_by_seed(tmp_path):
    """Seed 0: best 50, final 45; seed 1 is best at epoch 3: 52, 52. Diffs 5 and 0, so 2.5 +- 5 / sqrt 2."""
    runs = [small_run(tmp_path / "a"), small_run(tmp_path / "b", 1, adv=[0.4, 0.5, 0.52])]
    (row,) = methods(runs, options()).rows
    best, final, diff = row.cells[3:]
    assert (best.mean, final.mean, diff.mean) == pytest.approx((51, 48.5, 2.5))
    assert best.std == pytest.approx(2**0.5)
    assert diff.std == pytest.approx(5 / 2**0.5)
    assert (row.seeds, diff.n) == (2, 2)
    natural = row.cells[0]
    assert natural.mean == pytest.approx(75), "each seed at its own best epoch"


def test_validation_chooses_where_there_is_one_and_test_if_asked(tmp_path):
    run = small_run(tmp_path / "a", val=[0.5, 0.4, 0.3])
    auto = methods([run], options())
    assert numbers(auto, "PGD-AT")["PGD-20 best"] == pytest.approx(40)
    assert "robust accuracy on validation." in auto.caption[1]
    test = methods([run], options(best_by="test"))
    assert numbers(test, "PGD-AT")["PGD-20 best"] == pytest.approx(50)
    assert "maximum over test evaluations" in test.caption[1]
    other = small_run(tmp_path / "b", labels="smooth")
    mixed = methods([run, other], options())
    assert mixed.caption[1].endswith("for PGD-AT: robust accuracy on validation.")
    assert "highest robust accuracy on test" in mixed.caption[1]
    with pytest.raises(RunFolderError, match="holds no evaluation on val"):
        methods([other], options(best_by="val"))


def test_autoattack_where_it_was_measured_and_how_to_get_it(tmp_path):
    run = measure(small_run(tmp_path / "a"), 2, **{"acc_adv/autoattack": 0.42}, n=50)
    table = methods([run, small_run(tmp_path / "b", labels="smooth")], options())
    found = numbers(table, "PGD-AT")
    assert found["AutoAttack best"] == pytest.approx(42)
    assert found["AutoAttack final"] is None
    assert found["AutoAttack diff"] is None
    notes = " ".join(table.notes)
    assert "AutoAttack: on 50 of 100 test images." in notes
    assert "`overfit-lab evaluate RUN --attack autoattack --checkpoint best,final`" in notes
    assert not any("AutoAttack" in c.group for c in methods([small_run(tmp_path / "c")], options()).columns)


def test_fewer_seeds_than_the_row_has_are_marked(tmp_path):
    runs = [small_run(tmp_path / "a"), small_run(tmp_path / "b", 1)]
    runs[0] = measure(measure(runs[0], 2, **{"acc_adv/square": 0.44}), 3, **{"acc_adv/square": 0.4})
    table = methods(runs, options(attacks=("square",)))
    assert [c.group for c in table.columns] == ["Natural"] * 3 + ["Square"] * 3
    assert table.rows[0].cells[3].mark == "a"
    assert table.footnotes == (("a", "of 1 of 2 seeds"),)


def test_the_header_says_how_many_steps(tmp_path):
    ten = small_run(tmp_path / "a", evaluation={"n_steps": 10, "n_restarts": 3})
    assert methods([ten], options()).columns[3].group == "PGD-10, 3 restarts"
    table = methods([ten, small_run(tmp_path / "b", labels="sglr")], options())
    assert table.columns[3].group == "PGD"
    assert "The attacks differ: PGD-10, 3 restarts; for PGD-AT + SGLR: PGD-20." in table.notes
    asked = methods([ten], options(attacks=("pgd-20",)))
    assert numbers(asked, "PGD-AT")["PGD-20 best"] is None, "ten steps are not twenty"


def test_an_evaluation_without_steps_is_no_attack(tmp_path):
    """Its column was once headed PGD-0."""
    run = small_run(tmp_path / "a", objective="standard", evaluation={"n_steps": 0})
    table = methods([run], options())
    assert table.columns[3].group == "PGD-20"
    assert numbers(table, "standard training")["PGD-20 final"] is None
    assert any("--attack pgd-20 --checkpoint" in note for note in table.notes)


def test_second_weights_have_a_row_and_raw_ones_say_so(tmp_path):
    table = methods([small_run(tmp_path / "a", weights="swa", regularizers=["swa"])], options())
    assert [row.label for row in table.rows] == ["PGD-AT + SWA", "PGD-AT + SWA (raw weights)"]
    assert numbers(table, "PGD-AT + SWA")["PGD-20 best"] == pytest.approx(51)
    assert numbers(table, "PGD-AT + SWA (raw weights)")["PGD-20 best"] == pytest.approx(50)


def test_other_data_stand_in_a_section_of_their_own_and_other_settings_in_a_row(tmp_path):
    runs = [
        small_run(tmp_path / "a"),
        small_run(tmp_path / "b", 1, attack={"eps": "16/255"}),
        small_run(tmp_path / "c", 2, batch_size=64),
    ]
    table = methods(runs, options())
    assert [row.seeds for row in table.rows] == [1, 1, 1]
    assert len(table.sections()) == 2
    labels = [row.label for row in table.rows]
    assert "PGD-AT (batch size 64)" in labels
    assert "PGD-AT (batch size 128)" in labels


def test_a_seed_that_comes_twice_counts_once(tmp_path):
    table = methods([small_run(tmp_path / "a"), small_run(tmp_path / "b")], options())
    assert [row.seeds for row in table.rows] == [1]
    assert table.notes[0] == "Left out, the same experiment with the same seed as another: b (as a)."


def test_imported_weights_have_a_final_alone(tmp_path):
    run = imported_run(tmp_path / "theirs", **{"acc_clean": 0.81, "acc_adv/pgd-20": 0.52, "acc_adv/autoattack": 0.48})
    table = methods([run, small_run(tmp_path / "ours")], options(published=True))
    found = numbers(table, "theirs (imported)")
    assert {key: value for key, value in found.items() if value is not None} == pytest.approx(
        {"Natural final": 81, "PGD-20 final": 52, "AutoAttack final": 48}
    )
    assert "One checkpoint alone, so there is no best and no diff: theirs (imported)." in table.notes
    with pytest.raises(RunFolderError, match="holds no evaluation; `overfit-lab evaluate"):
        methods([imported_run(tmp_path / "nothing")], options())


def test_unfinished_runs_are_marked(tmp_path):
    table = methods([small_run(tmp_path / "cut", status="interrupted")], options())
    assert table.rows[0].mark == "a"
    assert table.footnotes == (("a", "not completed: cut (interrupted at epoch 3 of 3)"),)


def test_unknown_attacks_are_refused(tmp_path):
    run = small_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="unknown attack 'fgsm'; known: apgd-ce"):
        methods([run], options(attacks=("fgsm",)))
    with pytest.raises(ConfigError, match="given 2 times"):
        methods([run], options(attacks=("square", "square")))


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    runs = [
        small_run(
            folder / f"{labels}-{seed}-{size}", seed, labels, adv=[0.4, 0.5 + 0.013 * seed, 0.31], batch_size=size
        )
        for labels in ("hard", "sglr")
        for seed in (0, 1, 2)
        for size in (64, 128)
    ]
    return [*runs, small_run(folder / "twice", 2, batch_size=64), imported_run(folder / "imp", acc_clean=0.5)]


@pytest.fixture(scope="module")
def in_order(several):
    return in_two_formats(several)


def in_two_formats(runs):
    table = methods(runs, options(published=True))
    return [FORMATS[name](table) for name in ("csv", "table")]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_order_of_runs_does_not_matter(several, in_order, data):
    assert in_two_formats(data.draw(st.permutations(several))) == in_order
