"""What a grid consists of, and which folders it goes on in; nothing is trained here."""

import json

import pytest

from overfit_lab.cli.jobs import Estimate, GridProgress, duration
from overfit_lab.cli.main import run
from overfit_lab.config import parse_config, to_yaml
from overfit_lab.errors import ConfigError, FolderBusyError, RunFolderError
from overfit_lab.records.writer import take_lock
from overfit_lab.sweeps.grid import plan_grid, run_grid
from tiny import tiny_config

AXES = {"labels.r": [0.2, 0.4], "optimizer.lr": [0.1, 0.01]}


@pytest.fixture
def untrained(monkeypatch):
    """Every job is done at once, and what was asked for is kept."""
    asked = {}

    def done(jobs, watcher, **how):
        asked.update(how, names=[job.name for job in jobs])
        return {}

    monkeypatch.setattr("overfit_lab.sweeps.grid.run_jobs", done)
    return asked


def test_cells_have_complete_configurations():
    cells = plan_grid(tiny_config(), AXES, [3, 4])
    assert len(cells) == 8
    assert [(c.settings["labels.r"], c.settings["optimizer.lr"], c.seed) for c in cells][:3] == [
        (0.2, 0.1, 3),
        (0.2, 0.1, 4),
        (0.2, 0.01, 3),
    ]
    for cell in cells:
        assert cell.config.labels.options["r"] == cell.settings["labels.r"]
        assert cell.config.optimizer.lr == cell.settings["optimizer.lr"]
        assert cell.config.seed == cell.seed
        assert parse_config(cell.config.model_dump(mode="json")) == cell.config
        assert "temperature" in cell.config.labels.options


def test_axes_are_applied_in_their_order():
    (cell,) = plan_grid(tiny_config("hard"), {"labels.name": ["smooth"], "labels.r": [0.3]}, [0])
    assert cell.config.labels.options["r"] == 0.3
    with pytest.raises(ConfigError, match=r"is the same run as cell r0\.3-labels_smooth-seed0"):
        plan_grid(tiny_config("hard"), {"labels.r": [0.3, 0.4], "labels.name": ["smooth"]}, [0])


@pytest.mark.parametrize(
    ("axes", "seeds", "message"),
    [
        ({"labels.r": [0.2, 2]}, [0], "cell r2-seed0: .*labels.r = 2"),
        ({"labels.name": ["hard", "sgrl"]}, [0], "cell labels_sgrl-seed0: .*did you mean sglr"),
        ({"labls.r": [0]}, [0], "cell r0-seed0: .*did you mean labels"),
        ({"epochs.a": [0]}, [0], "epochs is a value, not a group"),
        ({"labels.r": [0.2, 0.2]}, [0], "is the same run as"),
        ({"labels.r": [0.2]}, [0, 0], "is the same run as"),
        ({"labels.r": []}, [0], "expected one value or more"),
        ({"seed": [1, 2]}, [0], "--seeds"),
        ({}, [], "one seed or more"),
        ({"epochs": [1]}, [-1], "seed"),
    ],
)
def test_wrong_grids_are_refused_before_anything_is_made(axes, seeds, message, tmp_path, untrained):
    with pytest.raises(ConfigError, match=message) as caught:
        run_grid(tiny_config(), axes, seeds, tmp_path / "grid")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not untrained


def test_the_manifest_says_what_the_grid_is(tmp_path, untrained):
    folder = tmp_path / "deep" / "grid"
    result = run_grid(tiny_config(), AXES, [0], folder, jobs=9)
    content = json.loads((folder / "grid.json").read_text())
    assert content["axes"] == AXES
    assert content["seeds"] == [0]
    assert content["cells"][1] == {
        "folder": "r0.2-lr0.01-seed0",
        "settings": {"labels.r": 0.2, "optimizer.lr": 0.01},
        "seed": 0,
    }
    assert [cell["folder"] for cell in content["cells"]] == [cell.name for cell in result.cells] == untrained["names"]
    assert str(tmp_path) not in json.dumps(content)
    assert (untrained["n_processes"], untrained["n_threads"]) == (4, 1)
    run_grid(tiny_config(), AXES, [0], folder, jobs=1, resume=True)
    assert (untrained["n_processes"], untrained["n_threads"]) == (1, None)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"axes": {"labels.r": [0.2, 0.4]}}, "axes"),
        ({"axes": {**AXES, "labels.r": [0.2, 0.3]}}, "axes"),
        ({"axes": dict(reversed(AXES.items()))}, "axes"),
        ({"seeds": [0, 1]}, "seeds"),
        ({"config": tiny_config(epochs=9)}, "config"),
    ],
)
def test_another_grid_is_not_gone_on_with(changes, what, tmp_path, untrained):
    grid = {"config": tiny_config(), "axes": AXES, "seeds": [0], "folder": tmp_path / "grid"}
    run_grid(**grid)
    before = (tmp_path / "grid" / "grid.json").read_bytes()
    with pytest.raises(RunFolderError, match=f"holds another grid \\(other {what}\\)"):
        run_grid(**{**grid, **changes}, resume=True)
    with pytest.raises(RunFolderError, match="--resume"):
        run_grid(**{**grid, **changes})
    assert (tmp_path / "grid" / "grid.json").read_bytes() == before
    assert run_grid(**grid, resume=True).failures == {}


def test_folders_that_are_no_grid(tmp_path, untrained):
    grid = {"config": tiny_config(), "axes": AXES, "seeds": [0], "folder": tmp_path / "grid"}
    with pytest.raises(RunFolderError, match="no such grid folder"):
        run_grid(**grid, resume=True)
    (tmp_path / "grid").mkdir()
    with pytest.raises(RunFolderError, match="not the folder of a grid"):
        run_grid(**grid, resume=True)
    (tmp_path / "grid" / "theirs").touch()
    with pytest.raises(RunFolderError, match="not empty"):
        run_grid(**grid)
    (tmp_path / "grid" / "theirs").unlink()
    for name in (".lock", ".grid.json.partial"):  # what a kill before the manifest may leave
        (tmp_path / "grid" / name).touch()
    run_grid(**grid)
    for damaged in ("[1]", "{", "\x00"):
        (tmp_path / "grid" / "grid.json").write_text(damaged)
        with pytest.raises(RunFolderError, match="damaged"):
            run_grid(**grid, resume=True)


def test_one_process_at_a_time_runs_a_grid(tmp_path, untrained):
    grid = {"config": tiny_config(), "axes": AXES, "seeds": [0], "folder": tmp_path / "grid"}
    run_grid(**grid)
    with take_lock(tmp_path / "grid"), pytest.raises(FolderBusyError, match="another process is running this grid"):
        run_grid(**grid, resume=True)
    run_grid(**grid, resume=True)


BAD = [
    (["--grid", "labels.r"], "expected key=value,value"),
    (["--grid", "labels.r=0,2"], "cell r2-seed0"),
    (["--grid", "labels.r=0,0.2", "--seeds", "0"], "--seeds 0"),
    (["--seeds", "2", "--jobs", "0"], "--jobs 0"),
    (["--jobs", "2"], "--jobs goes with --grid or --seeds"),
    (["--seeds", "2", "--resume", "--out", "nowhere"], "no such grid folder"),
    (["--seeds", "2", "--out", "tiny.yaml"], "is a file"),
    (["--seeds", "2", "--device", "tpu"], "expected auto, cpu or cuda"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: " ".join(value) if value[0] == "-" else "")
def test_bad_commands_are_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config()))
    assert run(["train", "tiny.yaml", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_the_time_left_counts_what_was_done_since_the_beginning():
    estimate = Estimate(4)
    assert estimate.seconds_left(1.0) is None
    estimate.reported("resumed", 0.5)
    assert estimate.seconds_left(1.0) is None
    estimate.reported("resumed", 0.75)
    assert estimate.seconds_left(10.0) == pytest.approx(10 / 0.25 * 3.25)
    estimate.ended("resumed")
    estimate.ended("failed at once")
    assert estimate.share() == 0.5
    assert estimate.seconds_left(10.0) == pytest.approx(10 / 1.5 * 2)


def test_without_a_terminal_a_line_says_that_a_cell_ended(capfd):
    with GridProgress(4, 1) as progress:
        progress.started("a")
        progress.progressed("a", 0.5, "epoch 1/2")
        progress.ended("a", None)
        progress.ended("b", "a reason")
    lines = capfd.readouterr()[1].splitlines()
    assert lines == ["a: completed (2 of 4, 0 s left)", "b: failed, a reason (3 of 4, 0 s left)"]


def test_on_a_terminal_there_are_bars(monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with GridProgress(2) as progress:
        progress.started("cell-one")
        progress.progressed("cell-one", 0.5, "epoch 1/2")
        progress.ended("cell-one", None)
        progress.started("cell-two")
    err = capfd.readouterr()[1]
    assert "all cells" in err
    assert "1 of 2" in err
    assert "cell-two" in err


def test_durations():
    assert [duration(s) for s in (0, 59.4, 60, 3599, 3600)] == ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min"]
