"""What holds for every regularizer that is registered."""

import pytest
import torch

from overfit_lab.config.catalog import REGULARIZERS
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.loop import train
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from overfit_lab.training.step import attacked_step
from overfit_lab.types import Batch
from parts import part
from tiny import tiny_config

regularizers = pytest.mark.parametrize("name", list(REGULARIZERS))
CPU = torch.device("cpu")


def config_of(name, teacher, **changes):
    return tiny_config(
        "sglr" if not REGULARIZERS[name].mixes_samples else "smooth",
        **{
            "regularizers": [part(REGULARIZERS, name, teacher)],
            "probes": {"every": 2, "metrics": ["calibration"]},
            **changes,
        },
    )


def weights_after(config):
    session = build(config, CPU)
    train(session, EventBus())
    return [p.detach() for p in session.model.parameters()]


@regularizers
def test_repeats_by_the_seed(name, teacher_run):
    config = config_of(name, teacher_run)
    assert all(torch.equal(a, b) for a, b in zip(weights_after(config), weights_after(config), strict=True))


@regularizers
def test_a_step_leaves_the_given_batch_as_it_was(name, teacher_run):
    session = build(config_of(name, teacher_run), CPU)
    batch = next(iter(session.loader.epoch(0)))
    kept = Batch(batch.x.clone(), batch.y.clone(), batch.index.clone())
    session.model.train()
    step = attacked_step(session, batch)
    assert torch.equal(batch.x, kept.x)
    assert torch.equal(batch.y, kept.y)
    assert step.batch.x.shape == kept.x.shape
    assert step.batch.x.min() >= 0
    assert step.batch.x.max() <= 1
    torch.testing.assert_close(step.targets.probs.sum(1), torch.ones(len(batch.y)))
    assert (step.x_adv - step.batch.x).abs().max() <= session.config.attack.eps + 1e-6


@regularizers
def test_weights_are_where_they_were_after_forward_and_backward(name, teacher_run):
    session = build(config_of(name, teacher_run), CPU)
    before = [p.detach().clone() for p in session.model.parameters()]
    session.model.train()
    step = attacked_step(session, next(iter(session.loader.epoch(0))))
    with session.regularizers[name].perturbed(step):
        step.objective_loss().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, session.model.parameters(), strict=True))


@regularizers
def test_a_stopped_run_goes_on_exactly(name, teacher_run, tmp_path):
    config = config_of(name, teacher_run)
    train_run(config, tmp_path / "whole", device="cpu")

    def stop(event):
        if event.snapshot.clock.epoch == 3:
            raise KeyboardInterrupt

    bus = EventBus()
    bus.on(EpochEnded, stop)
    assert train_run(config, tmp_path / "stopped", device="cpu", bus=bus) == "interrupted"
    assert train_run(None, tmp_path / "stopped", resume=True, device="cpu") == "completed"
    whole, stopped = (Run.open(tmp_path / folder).records for folder in ("whole", "stopped"))
    ignored = ["run", "seconds"]
    kept = ~whole["field"].str.startswith("seconds")
    assert kept.sum() > 20
    again = stopped[~stopped["field"].str.startswith("seconds")]
    assert whole[kept].drop(columns=ignored).equals(again.drop(columns=ignored).set_index(whole[kept].index))
    first, second = (
        load_checkpoint(tmp_path / folder / "checkpoints" / "last.safetensors") for folder in ("whole", "stopped")
    )
    for a, b in (
        (first.model, second.model),
        *((first.regularizers[k], second.regularizers[k]) for k in first.regularizers),
    ):
        assert all(torch.equal(a[key], b[key]) for key in a)


@regularizers
def test_second_weights_are_in_the_records_and_post_hoc_gives_the_same(name, teacher_run, tmp_path):
    config = config_of(name, teacher_run)
    train_run(config, tmp_path / "run", device="cpu")
    run = Run.open(tmp_path / "run")
    second = run.series(f"evaluation@{name}", "acc_adv", "test", "adversarial")
    session = build(config, CPU)
    train(session, EventBus())
    assert bool(session.second_snapshots()) == (len(second) > 0)
    if len(second):
        live = run.value_at(4, f"calibration@{name}", "ece", "test", "adversarial")
        rows = probe_run(tmp_path / "run", ["calibration"], weights=name, device="cpu", save=False)
        later = [r.value for r in rows if (r.field, r.split, r.inputs) == ("ece", "test", "adversarial")]
        assert later == [live]
        assert {r.probe for r in rows} == {f"calibration@{name}"}


@regularizers
def test_second_weights_and_their_evaluation_do_not_change_training(name, teacher_run):
    often = weights_after(config_of(name, teacher_run))
    seldom = config_of(name, teacher_run, evaluation={"every": 4, "n_steps": 0}, probes={})
    if "early" in name:
        pytest.skip("it listens to the evaluation, by its nature")
    assert all(torch.equal(a, b) for a, b in zip(often, weights_after(seldom), strict=True))


@regularizers
def test_memory_of_another_shape_is_refused(name, teacher_run):
    regularizer = build(config_of(name, teacher_run), CPU).regularizers[name]
    with pytest.raises(ValueError, match="regularizer memory"):
        regularizer.load_state_dict({**regularizer.state_dict(), "stranger": torch.zeros(2)})
