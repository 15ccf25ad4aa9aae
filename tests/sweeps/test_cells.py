"""Which cells a base, axes and seeds make, and in which folders a sweep is gone on with; nothing is trained here."""

import json

import pytest

from overfit_lab.cli.main import run
from overfit_lab.config import parse_config, to_dict
from overfit_lab.errors import ConfigError, FolderBusyError, RunFolderError
from overfit_lab.records.layout import PLAIN_NAME
from overfit_lab.records.writer import take_lock
from overfit_lab.sweeps.cells import expand
from overfit_lab.sweeps.identity import cell_id
from overfit_lab.sweeps.manifest import read_manifest
from overfit_lab.sweeps.run import resume_sweep, run_sweep
from overfit_lab.sweeps.spec import parse_spec
from tiny import tiny_config

AXES = {"labels.r": [0.2, 0.4], "optimizer.lr": [0.1, 0.01]}


@pytest.fixture
def untrained(monkeypatch):
    """Every job is done at once, and what was asked for is kept."""
    asked = {}

    def done(jobs, watcher, **how):
        asked.update(how, names=[job.name for job in jobs])
        return {}

    monkeypatch.setattr("overfit_lab.sweeps.backends.local.run_jobs", done)
    return asked


def spec(axes=AXES, seeds=1, config=None, **more):
    content = {"base": to_dict(config or tiny_config()), "grid": axes, "seeds": seeds, "device": "cpu", **more}
    return parse_spec(content, "test")


def test_cells_have_complete_configurations():
    cells = expand(tiny_config(), AXES, [3, 4])
    assert len(cells) == 8
    assert [(c.settings["labels.r"], c.settings["optimizer.lr"], c.seed) for c in cells][:3] == [
        (0.2, 0.1, 3),
        (0.2, 0.1, 4),
        (0.2, 0.01, 3),
    ]
    for cell in cells:
        config = parse_config(cell.config)
        assert config.labels.options["r"] == cell.settings["labels.r"]
        assert config.optimizer.lr == cell.settings["optimizer.lr"]
        assert config.seed == cell.seed
        assert to_dict(config) == cell.config
        assert "temperature" in config.labels.options
        assert cell.folder == f"{cell.name}-{cell_id(config)}"
        assert PLAIN_NAME.fullmatch(cell.folder)


def test_axes_are_applied_in_their_order():
    (cell,) = expand(tiny_config("hard"), {"labels.name": ["smooth"], "labels.r": [0.3]}, [0])
    assert cell.config["labels"]["r"] == 0.3
    with pytest.raises(ConfigError, match=r"is the same run as cell r0\.3-labels_smooth-seed0"):
        expand(tiny_config("hard"), {"labels.r": [0.3, 0.4], "labels.name": ["smooth"]}, [0])


@pytest.mark.parametrize(
    ("axes", "seeds", "message"),
    [
        ({"labels.r": [0.2, 2]}, 1, "cell r2-seed0: .*labels.r = 2"),
        ({"labels.name": ["hard", "sgrl"]}, 1, "cell labels_sgrl-seed0: .*did you mean sglr"),
        ({"labls.r": [0]}, 1, "cell r0-seed0: .*did you mean labels"),
        ({"epochs.a": [0]}, 1, "epochs is a value, not a group"),
        ({"labels.r": [0.2, 0.2]}, 1, "is the same run as"),
        ({"name": ["a", "b"]}, 1, "is the same run as"),
        ({"labels.r": []}, 1, "needs a list of values"),
        ({"seed": [1, 2]}, 1, "seed is no axis; say how many by seeds"),
        ({"labels.r": [0.2]}, [0, 0], "different seeds"),
        ({"epochs": [1]}, [-1], "seed"),
        ({"labels.name": ["os:system"]}, 1, r"the sweep: names code to run \(grid.labels.name.0"),
    ],
)
def test_wrong_cells_are_refused_before_anything_is_made(axes, seeds, message, tmp_path, untrained):
    with pytest.raises(ConfigError, match=message) as caught:
        run_sweep(spec(axes, seeds), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not untrained


def test_the_manifest_says_what_the_sweep_is(tmp_path, untrained):
    folder = tmp_path / "deep" / "out"
    result = run_sweep(spec(jobs=9), folder)
    content = json.loads((folder / "sweep.json").read_text())
    assert content["sweep"]["grid"] == AXES
    entries = list(content["cells"].values())
    assert (entries[1]["settings"], entries[1]["seed"]) == ({"labels.r": 0.2, "optimizer.lr": 0.01}, 0)
    assert list(content["cells"]) == [cell.folder for cell in result.cells]
    assert [entry["name"] for entry in entries] == untrained["names"]
    assert str(tmp_path) not in json.dumps(content)
    assert (untrained["n_processes"], untrained["n_threads"]) == (4, 1)
    assert read_manifest(folder).cells == result.cells
    resume_sweep(folder, {"jobs": 1, "resources": {"cpus": 3}})
    assert (untrained["n_processes"], untrained["n_threads"]) == (1, 3)


def test_a_run_has_one_folder_whatever_the_axes_call_it(tmp_path, untrained):
    """Asked for with another axis, whose value it has already, its name in words is another."""
    (before,) = run_sweep(spec({"labels.r": [0.2]}), tmp_path / "out").cells
    more = {"labels.r": [0.2], "optimizer.lr": [tiny_config().optimizer.lr, 0.5]}
    cells = run_sweep(spec(more), tmp_path / "out").cells
    assert (cells[0].folder, cells[0].id) == (before.folder, before.id)
    assert cells[0].name != before.name
    assert len(cells) == 2


def test_folders_named_by_the_hash_alone_are_gone_on_with(tmp_path, untrained):
    """As sweeps of an earlier version have."""
    run_sweep(spec(), tmp_path / "out")
    path = tmp_path / "out" / "sweep.json"
    content = json.loads(path.read_text())
    content["cells"] = {key.rpartition("-")[2]: entry for key, entry in content["cells"].items()}
    path.write_text(json.dumps(content))
    cells = run_sweep(spec(seeds=2), tmp_path / "out").cells
    assert [cell.folder.isalnum() for cell in cells] == [cell.seed == 0 for cell in cells]


def test_watch_shows_the_cells_that_wait_before_any_folder_of_theirs_is_there(tmp_path, untrained, capsys):
    run_sweep(spec(), tmp_path / "out")
    assert not list((tmp_path / "out").glob("r0*"))
    assert run(["watch", str(tmp_path / "out"), "--once"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("not begun") >= 4
    assert "r0.4-lr0.01-seed0-" in shown
    assert run(["watch", str(tmp_path / "out"), "--once", "--run", "r0.4-lr0.01-seed0"]) == 0
    assert run(["watch", str(tmp_path / "out"), "--once", "--run", "r0.4-lr0.01-seed7"]) == 2


def test_another_base_is_not_gone_on_with(tmp_path, untrained):
    run_sweep(spec(), tmp_path / "out")
    before = (tmp_path / "out" / "sweep.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"holds a sweep with epochs = .*, not 9; make epochs an axis"):
        run_sweep(spec(config=tiny_config(epochs=9)), tmp_path / "out")
    assert (tmp_path / "out" / "sweep.json").read_bytes() == before


def test_folders_that_are_no_sweep(tmp_path, untrained):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "theirs").touch()
    with pytest.raises(RunFolderError, match="not empty"):
        run_sweep(spec(), folder)
    (folder / "theirs").unlink()
    for name in (".lock", ".sweep.json.partial"):  # what a kill before the manifest may leave
        (folder / name).touch()
    run_sweep(spec(), folder)
    for damaged in ("[1]", "{", "\x00", '{"format": 1, "sweep": {"base": "a"}, "base": {}, "cells": {"../a": {}}}'):
        (folder / "sweep.json").write_text(damaged)
        with pytest.raises(RunFolderError, match="damaged"):
            run_sweep(spec(), folder)


def test_the_file_says_the_base_once_and_an_older_one_may_say_it_twice(tmp_path, untrained):
    path = tmp_path / "out" / "sweep.json"
    run_sweep(spec(), tmp_path / "out")
    content = json.loads(path.read_text())
    assert "base" not in content
    path.write_text(json.dumps({**content, "base": content["sweep"]["base"]}))
    assert read_manifest(tmp_path / "out").base == content["sweep"]["base"]
    run_sweep(spec(seeds=2), tmp_path / "out")
    assert len(read_manifest(tmp_path / "out").cells) == 8
    run_sweep(spec(set={"epochs": 9}), tmp_path / "changed")
    assert json.loads((tmp_path / "changed" / "sweep.json").read_text())["base"]["epochs"] == 9


def test_a_grid_of_an_earlier_version_is_refused_in_a_line_that_says_so(tmp_path, untrained):
    (tmp_path / "grid.json").write_text('{"format": 1, "cells": []}')
    for go_on in (lambda: run_sweep(spec(), tmp_path), lambda: resume_sweep(tmp_path)):
        with pytest.raises(RunFolderError, match=r"holds a grid of an earlier version \(grid.json\).*another --out"):
            go_on()
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_one_process_at_a_time_runs_a_sweep(tmp_path, untrained):
    run_sweep(spec(), tmp_path / "out")
    with take_lock(tmp_path / "out"):
        for go_on in (lambda: run_sweep(spec(), tmp_path / "out"), lambda: resume_sweep(tmp_path / "out")):
            with pytest.raises(FolderBusyError, match="another process is running this sweep"):
                go_on()
    resume_sweep(tmp_path / "out")
