"""Tables over constants and noise rates, and of calibration errors, against numbers by construction."""

import pytest
from made import measure, numbers, options, small_run

from overfit_lab.config.catalog import TABLES
from overfit_lab.errors import ConfigError, RunFolderError


def sglr(folder, seed, r, temperature, clean, adv, **changes):
    labels = {"name": "sglr", "r": r, "temperature": temperature}
    return small_run(folder, seed, labels, clean=[0.1, 0.2, clean], adv=[0.3, 0.2, adv], **changes)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    return [
        sglr(folder / f"{r}-{t}-{seed}", seed, r, t, 0.5 + r / 10 + t / 100 + seed / 50, 0.4 + r / 10)
        for r in (0.2, 0.4)
        for t in (1.0, 2.0)
        for seed in (0, 1)
    ]


def test_constants_are_rows_and_columns(grid):
    table = TABLES["constants"](grid, options())
    assert [row.label for row in table.rows] == ["r = 0.2", "r = 0.4"]
    assert numbers(table, "r = 0.4") == pytest.approx(
        {"Natural T = 1": 56, "Natural T = 2": 57, "Robust (PGD-20) T = 1": 44, "Robust (PGD-20) T = 2": 44}
    )
    assert table.rows[0].cells[0].std == pytest.approx(2 / 2**0.5)
    assert table.rows[0].seeds == 2
    assert "over 2 seeds" in table.caption[0]


def test_published_constants_stand_below_ours_at_their_temperatures(grid):
    table = TABLES["constants"](grid, options(published=True))
    found = numbers(table, "r = 0.2, published (Tab. 4)")
    assert found["Natural T = 1.5"] == 82.9
    assert found["Robust (PGD-20) T = 2"] == 53.9
    assert numbers(table, "r = 0.2")["Natural T = 1.5"] is None


def test_grids_that_differ_in_more_stand_apart_and_other_labels_are_refused(grid, tmp_path):
    more = sglr(tmp_path / "long", 0, 0.2, 1.0, 0.9, 0.9, batch_size=64)
    table = TABLES["constants"]([*grid, more], options())
    assert len(table.sections()) == 2
    assert sorted(row.seeds for row in table.rows) == [1, 2, 2]
    with pytest.raises(RunFolderError, match="label mode 'hard', table 'constants' is of sglr"):
        TABLES["constants"]([small_run(tmp_path / "hard")], options())
    with pytest.raises(ConfigError, match="--best-by test: has no meaning"):
        TABLES["constants"](grid, options(best_by="test"))


def test_noise_rates_are_columns_and_kinds_are_told_apart(tmp_path):
    def run(name, kind, rate, clean, seed=0):
        noise = {"kind": kind, "rate": rate} if rate else {}
        data = {"name": "digits", "noise": noise}
        return small_run(tmp_path / name, seed, clean=[0, 0, clean], data=data, objective="standard")

    runs = [
        run("a", None, 0, 0.9),
        run("b", "symmetric", 0.2, 0.7),
        run("c", "symmetric", 0.2, 0.6, 1),
        run("d", "asymmetric", 0.2, 0.5),
    ]
    table = TABLES["label-noise"](runs, options(published=True))
    found = numbers(table, "standard training")
    assert {key: value for key, value in found.items() if value is not None} == pytest.approx(
        {"0%": 10, "asymmetric label noise 20%": 50, "symmetric label noise 20%": 35}
    )
    assert dict(table.footnotes)["a"] == "of 1 seed"
    theirs = numbers(table, "standard training, published (Tab. B.2)")
    assert theirs["symmetric label noise 20%"] == 37.8
    assert theirs["asymmetric label noise 20%"] is None
    assert theirs["0%"] == 26.8
    with pytest.raises(ConfigError, match="--attack square: has no meaning"):
        TABLES["label-noise"](runs, options(attacks=("square",)))


def test_calibration_at_best_and_final_in_each_state(tmp_path):
    run = small_run(tmp_path / "a")
    run = measure(run, 2, "calibration", ece=0.18, ece_scaled=0.05)
    run = measure(run, 3, "calibration", ece=0.43)
    run = measure(run, 3, "calibration", ece=0.39, inputs="black-box")
    table = TABLES["calibration"]([run], options(published=True))
    found = numbers(table, "PGD-AT")
    assert {key: value for key, value in found.items() if value is not None} == {
        "white-box (PGD-20) best": 0.18,
        "white-box (PGD-20) final": 0.43,
        "white-box, scaled best": 0.05,
        "black-box (Square) final": 0.39,
    }
    theirs = numbers(table, "PGD-AT, published (Tab. B.1)")
    assert theirs["white-box (PGD-20) final"] == 0.43
    assert theirs["black-box (Square) best"] == 0.07
    assert any("--inputs adversarial,black-box --checkpoint best,final`" in note for note in table.notes)
