"""Only seeds of one experiment are averaged; other runs are drawn apart, or refused where there is one place."""

import json

import numpy as np
import pytest

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import differences, experiments
from overfit_lab.records.reader import Run
from overfit_lab.records.writer import RunWriter
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import decays, title_of
from overfit_lab.views.figures.style import looks_of
from run_factory import EPOCHS, make_run, robust_test


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Hard labels at two rates of label noise, each of seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("mixed")
    return [make_run(folder / f"hard-{rate}-seed{s}", "hard", s, rate=rate) for rate in (0.3, 0.6) for s in (0, 1)]


def labels_of(axes):
    return [drawn.get_label() for drawn in axes.get_lines() if not drawn.get_label().startswith("_")]


def drop_epochs(folder, probes, keep):
    """Leave only those rows of some probes whose epoch `keep` accepts."""
    path = folder / "records.jsonl"
    rows = [line for line in path.read_text().splitlines() if keep_row(json.loads(line), probes, keep)]
    path.write_text("\n".join(rows) + "\n")


def keep_row(row, probes, keep):
    return row["probe"] not in probes or keep(row["epoch"])


def test_runs_of_other_settings_are_other_experiments(mixed):
    assert [[run.name for run in part] for part in experiments(mixed)] == [
        ["hard-0.3-seed0", "hard-0.3-seed1"],
        ["hard-0.6-seed0", "hard-0.6-seed1"],
    ]
    assert differences(mixed) == {"data.noise.rate": [0.3, 0.6]}
    assert list(by_experiment(mixed)) == [
        "hard (30% symmetric label noise)",
        "hard (60% symmetric label noise)",
    ]
    assert list(by_experiment(mixed[:2])) == ["hard"]


def test_what_is_recorded_makes_no_other_experiment(tmp_path):
    other = {"probes": {"every": 7, "metrics": ["iiw"]}, "checkpoint": {"every": 3}, "evaluation": {"every": 2}}
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, name="another", **other)]
    assert len(experiments(runs)) == 1
    stronger = make_run(tmp_path / "c", seed=2, evaluation={"n_steps": 50})
    assert differences([*runs, stronger]) == {"evaluation.n_steps": [20, 50]}


@pytest.mark.parametrize("name", ["overview", "calibration"])
def test_curves_of_other_settings_are_drawn_apart(name, mixed):
    """Runs at different rates of label noise were once averaged and called seeds."""
    shown = FIGURES[name](mixed).axes[0]
    assert labels_of(shown) == [f"hard labels ({rate} symmetric label noise)" for rate in ("30%", "60%")]
    first, second = (drawn for drawn in shown.get_lines() if "noise" in drawn.get_label())
    assert first.get_color() != second.get_color()
    if name == "overview":
        want = [np.mean([robust_test("hard", seed, epoch) for seed in (0, 1)]) for epoch in range(1, EPOCHS + 1)]
        np.testing.assert_allclose(first.get_ydata(), want)


def test_many_differences_are_told_by_the_folders_names(tmp_path):
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", rate=0, batch_size=7)]
    words = ["hard (30% symmetric label noise, batch size 128)", "hard (no label noise, batch size 7)"]
    assert list(by_experiment(runs)) == words
    runs = [runs[0], make_run(tmp_path / "three", rate=0, batch_size=7, epochs=30)]
    assert list(by_experiment(runs)) == ["hard (one)", "hard (three)"]
    below = [make_run(tmp_path / "x" / "one", batch_size=9, epochs=21, optimizer={"lr": 0.3})]
    assert list(by_experiment([runs[0], *below])) == [f"hard ({tmp_path}/one)", f"hard ({tmp_path}/x/one)"]


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_figures_with_one_place_refuse_runs_of_other_settings(name, mixed):
    with pytest.raises(RunFolderError, match=r"hard labels differ in more than the seed \(data\.noise\.rate: 0\.3, 0"):
        FIGURES[name](mixed)
    FIGURES[name](mixed[:2])


def test_fig4_keeps_kinds_of_noise_and_objectives_apart(tmp_path):
    runs = [make_run(tmp_path / "a", rate=0.4), make_run(tmp_path / "b", seed=1, rate=0.4, kind="asymmetric")]
    with pytest.raises(RunFolderError, match=r"data\.noise\.kind: symmetric, asymmetric"):
        FIGURES["fig4"](runs)
    trades = make_run(tmp_path / "c", rate=0.4, objective="trades")
    left = FIGURES["fig4"]([runs[0], trades]).axes[0]
    assert labels_of(left) == ["hard labels", "trades training, hard labels"]
    colors = {drawn.get_color() for drawn in left.get_lines()[:2]}
    assert len(colors) == 2


def test_fig4_without_the_untouched_share_names_the_probe(tmp_path):
    make_run(tmp_path / "r", probes=False)
    with RunWriter.reopen(tmp_path / "r") as writer:
        writer.update_info(data={"sizes": {"train": 5}})
    with pytest.raises(RunFolderError, match="--metric memorisation"):
        FIGURES["fig4"]([Run.open(tmp_path / "r")])


def test_seeds_without_an_epoch_in_common(tmp_path):
    """Their empty mean once ended two figures in a ValueError of numpy's."""
    make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1)
    for name, rest in (("a", 0), ("b", 2)):
        drop_epochs(tmp_path / name, ("iiw", "gradient-norm"), lambda epoch, rest=rest: epoch % 4 == rest)
    runs = [Run.open(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(RunFolderError, match="at no epoch that a, b share"):
        FIGURES["fig1"](runs)
    titles = [axes.get_title(loc="left") for axes in FIGURES["overview"](runs).axes]
    assert "IIW (nats), robust train" not in titles
    assert "Hessian trace, robust train" in titles


def test_fig3_without_an_epoch_of_both_confidences(tmp_path):
    make_run(tmp_path / "a")
    path = tmp_path / "a" / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [row for row in rows if row["field"] not in ("conf_correct", "conf_wrong") or _half(row)]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    with pytest.raises(RunFolderError, match="--metric confidence"):
        FIGURES["fig3"]([Run.open(tmp_path / "a")])


def _half(row):
    return row["epoch"] % 4 == (0 if row["field"] == "conf_correct" else 2)


def test_fig5_says_which_images_the_maps_are_of(tmp_path):
    """A map of train images was once drawn under a caption on test images, with their silhouette."""
    run = make_run(tmp_path / "r")
    arrays = {name.replace("test", "train"): a for name, a in run.arrays("features", EPOCHS).items()}
    with RunWriter.reopen(tmp_path / "r") as writer:
        writer.save_arrays("features", EPOCHS, arrays)
    figure = FIGURES["fig5"]([Run.open(tmp_path / "r")])
    assert "clean train images" in figure.get_supxlabel().replace("\n", " ")
    assert figure.axes[0].get_xlabel() == ""


def test_decays_are_those_that_all_runs_have(tmp_path):
    """Two of three runs were once enough, since the mean of the three had fallen by half."""
    runs = [make_run(tmp_path / name, seed=seed) for seed, name in enumerate("abc")]
    assert decays(runs) == [10, 15]
    path = tmp_path / "c" / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["field"] == "lr":
            row["value"] = 0.1 if row["epoch"] <= 15 else 0.001
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert decays([*runs[:2], Run.open(tmp_path / "c")]) == [15]


def test_captions_say_every_setting_and_count_seeds_by_setting(mixed, tmp_path):
    assert "mean of 2 seeds, band" in caption(mixed)
    assert "mean of 1 to 2 seeds" in caption(mixed[:3])
    assert "; one seed each" in caption([mixed[0], mixed[3]])
    assert "; one seed;" in caption([mixed[0], mixed[2]], split="x")
    l2 = make_run(tmp_path / "l2", attack={"norm": "l2", "eps": 0.5}, model={"name": "small-cnn"})
    text = caption([mixed[0], l2])
    assert "MLP / small CNN" in text
    assert "PGD-20, l_inf eps 8/255 / PGD-20, l_2 eps 0.5" in text


@pytest.mark.parametrize("name", ["overview", "calibration", "fig3"])
def test_a_legend_of_long_names_is_neither_cut_off_nor_over_the_curves(name, mixed, tmp_path):
    runs = [*mixed, make_run(tmp_path / "s", "smooth"), make_run(tmp_path / "g", "sglr", rate=0)]
    figure = FIGURES[name](runs)
    figure.canvas.draw()
    (shown,) = figure.legends
    box = shown.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert all(box.y0 >= axes.get_window_extent().y1 for axes in figure.axes)


def test_captions_say_that_some_runs_have_no_noise(mixed, tmp_path):
    clean = make_run(tmp_path / "clean", rate=0)
    text = "no label noise / 30% symmetric label noise / 60% symmetric label noise"
    assert text in caption([mixed[2], clean, mixed[0]])
    assert "; no label noise;" in caption([clean])


def test_titles_of_groups():
    assert title_of("hard") == "hard labels"
    assert title_of("trades, sglr (temperature 0.5, r 0.2)") == "trades training, SGLR (temperature 0.5, r 0.2)"
    assert title_of("mine (a, b)") == "mine (a, b)"


def test_sixteen_groups_look_different():
    looks = looks_of([f"sglr (temperature {i})" for i in range(16)])
    assert len({(look.color, str(look.linestyle), look.marker) for look in looks.values()}) == 16


def test_regularizers_are_told_apart_by_their_options(tmp_path):
    runs = [
        make_run(tmp_path / f"awp-{gamma}", "hard", regularizers=[{"name": "awp", "gamma": gamma}])
        for gamma in (0.01, 0.03)
    ]
    runs.append(make_run(tmp_path / "swa", "hard", regularizers=["swa"]))
    assert list(by_experiment(runs)) == ["hard + awp (gamma 0.01)", "hard + awp (gamma 0.03)", "hard + swa"]
