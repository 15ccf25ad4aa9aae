"""A run that is gone on with to a later end: the longer run to the bit, or refused where its past would differ."""

import pytest

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.run import train_run
from same_run import assert_same_run
from tiny import tiny_config

PROBES = {"every": 1, "metrics": ["gradient-norm", "calibration"], "n": 20}


def small(epochs, **changes):
    """Two or three epochs without probes, at a constant rate."""
    settings = {
        "probes": {},
        "schedule": "constant",
        "evaluation": {"n_steps": 1, "n_train": 32},
        "model": {"name": "mlp", "hidden": 4},
        **changes,
    }
    return tiny_config(settings.pop("labels", "hard"), **settings, epochs=epochs)


def stopped_after(steps, config, folder):
    bus = EventBus()

    def stop(event):
        if event.clock.step == steps:
            raise KeyboardInterrupt

    bus.on(StepEnded, stop)
    assert train_run(config, folder, device="cpu", bus=bus) == "interrupted"


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "sglr", "schedule": {"name": "piecewise", "milestones": [1, 3]}, "probes": PROBES},
        {"schedule": "constant", "regularizers": [{"name": "swa", "start_epoch": 1}], "optimizer": {"warmup": 1}},
    ],
    ids=["piecewise", "constant"],
)
def test_a_longer_run_is_that_of_its_length_from_the_start(tmp_path, changes):
    longer, whole = tmp_path / "longer", tmp_path / "whole"
    train_run(small(2, **changes), longer, device="cpu")
    assert train_run(small(4, **changes), longer, device="cpu", resume=True) == "completed"
    train_run(small(4, **changes), whole, device="cpu")
    assert_same_run(longer, whole)
    ends = [load_checkpoint(layout.checkpoint_path(folder, "last")).clock for folder in (longer, whole)]
    assert ends[0] == ends[1]
    run = Run.open(longer)
    assert run.info["epochs_changed"] == [{"epoch": 2, "before": 2, "now": 4}]
    assert {key: run.info[key] for key in ("epoch", "best", "decay_epochs")} == {
        key: Run.open(whole).info[key] for key in ("epoch", "best", "decay_epochs")
    }


REFUSED = {
    "cosine": (
        {"schedule": "cosine"},
        "the learning rate (schedule 'cosine') was 0.0933013 in epoch 1, and would be 0.0982963",
    ),
    "linear": ({"schedule": "linear"}, "the learning rate (schedule 'linear') was"),
    "shares": (
        {"schedule": "piecewise"},
        "the learning rate (schedule 'piecewise') was 0.001 in epoch 2, and would be 0.1",
    ),
    "warm-up": ({"optimizer": {"warmup": "50%"}}, "the learning rate (schedule 'constant', warmup 50%) was"),
    "radius": ({"attack": {"n_steps": 1, "eps_schedule": "ramp"}}, "eps (attack.eps_schedule 'ramp') was"),
    "a start": (
        {"regularizers": [{"name": "ema", "start_epoch": "50%"}]},
        "ema.start_epoch = 50% was epoch 1, and would be 2; say it as an epoch",
    ),
    "a teacher": (
        {"labels": {"name": "kd", "teacher": "train:standard"}},
        "labels.teacher = train:standard was trained for 2 epochs, and not for 4",
    ),
    "an evaluation": (
        {"regularizers": ["early-stopping"], "evaluation": {"n_steps": 1, "every": 3}},
        "early-stopping looked at epoch 2, which evaluation.every = 3 skips",
    ),
    "another key": ({"batch_size": 48}, None),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_run_whose_past_depends_on_its_length_is_refused_in_one_line(tmp_path, case):
    changes, why = REFUSED[case]
    folder = tmp_path / "run"
    train_run(small(2, **changes), folder, device="cpu")
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    now = small(4, **(changes if why else {}))
    with pytest.raises(RunFolderError) as caught:
        train_run(now, folder, device="cpu", resume=True)
    expected = f"(epochs is 2 there and 4 now: {why}" if why else "(batch_size is 48 there and 32 now)"
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


def test_a_drop_that_was_not_reached_may_move_and_a_shorter_run_is_refused(tmp_path):
    schedule = {"schedule": {"name": "one-drop", "epoch": "50%"}}
    stopped_after(4, small(4, **schedule), tmp_path / "run")
    assert train_run(small(6, **schedule), tmp_path / "run", device="cpu", resume=True) == "completed"
    train_run(small(6, **schedule), tmp_path / "whole", device="cpu")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(RunFolderError, match="epochs is 6 there and 5 now"):
        train_run(small(5, **schedule), tmp_path / "run", device="cpu", resume=True)
