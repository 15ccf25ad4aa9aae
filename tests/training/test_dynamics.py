"""What is recorded of every training sample equals plain loops over the logits, under resumption and in any method."""

import math

import numpy as np
import pytest
import torch

from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.processes.share import Share
from overfit_lab.records.dynamics import MARGINS, encode_margin
from overfit_lab.records.reader import Run
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.run import train_run
from overfit_lab.types import Batch, Outputs
from same_run import assert_same_run
from tiny import tiny_config
from transcribed_dynamics import assert_transcribed

DATA = {
    "name": "digits", "n_test": 20, "augment": ["crop", "flip"], "crop_padding": 1,
    "noise": {"kind": "symmetric-flip", "rate": 0.3},
}  # fmt: skip


def config_of(labels="hard", *, n_train=69, **changes):
    """Three epochs of batches of 32, the last of which holds 5 samples, or, of 65, one that is left out."""
    given = {"epochs": 3, "probes": {}, "evaluation": {"n_steps": 1, "n_train": 20}, "schedule": "constant", **changes}
    return tiny_config(labels, data={**DATA, "n_train": n_train}, optimizer={"lr": 0.3}, **given)


@pytest.fixture
def captured(monkeypatch):
    """For each forward pass of an objective: index, given labels and logits by view, in float64."""
    found = []
    for kind in {kind for name in OBJECTIVES for kind in OBJECTIVES[name].__mro__ if "forward" in vars(kind)}:

        def forward(self, model, batch, x_adv, plain=kind.forward):
            outputs = plain(self, model, batch, x_adv)
            views = {"adversarial": outputs.adv, "clean": outputs.clean}
            logits = {view: z.detach().double().numpy() for view, z in views.items() if z is not None}
            found.append((batch.index.tolist(), batch.y.tolist(), logits))
            return outputs

        if not getattr(kind.forward, "__isabstractmethod__", False):
            monkeypatch.setattr(kind, "forward", forward)
    return found


CASES = {
    "pgd-at": (config_of(), {"adversarial"}),
    "a sample left out": (config_of(n_train=65), {"adversarial"}),
    "trades": (config_of(objective="trades"), {"adversarial", "clean"}),
    "standard": (config_of(objective="standard"), {"clean"}),
    "mixup, awp": (config_of("smooth", regularizers=["mixup"]), {"adversarial"}),
    "clp": (config_of(objective="clp"), {"adversarial", "clean"}),
}


@pytest.mark.parametrize("case", list(CASES))
def test_records_equal_plain_loops(case, captured, tmp_path):
    config, _ = CASES[case]
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    found = Run.open(tmp_path / "run").dynamics
    assert set(found) == set(captured[0][2])
    for view in found:
        assert_transcribed(found[view], captured)
    n_unseen = sum(np.isnan(found[view].loss).sum() for view in found)
    assert n_unseen == (3 if case == "a sample left out" else 0)
    assert sum(dynamics.running["n_forgotten"].sum() for dynamics in found.values()) > 0


def test_the_clean_images_that_a_label_mode_passes_are_a_view(tmp_path):
    train_run(config_of({"name": "sglr", "start_epoch": 1}), tmp_path / "run", device="cpu")
    found = Run.open(tmp_path / "run").dynamics
    assert found["adversarial"].epochs == (1, 2, 3)
    assert found["clean"].epochs == (2, 3)
    assert not np.isnan(found["clean"].margin).any()
    assert (found["clean"].margin.mean() > found["adversarial"].margin[:, 1:].mean()).item()


def stopped_after(step, config, folder, **options):
    bus = EventBus()

    def stop(event):
        if event.clock.step == step:
            raise KeyboardInterrupt

    bus.on(StepEnded, stop)
    assert train_run(config, folder, device="cpu", bus=bus, **options) == "interrupted"


@pytest.mark.parametrize("keep", ["full", "compact", "running"])
def test_a_resumed_run_has_the_same_to_the_bit(keep, tmp_path):
    config = config_of(objective="trades", checkpoint={"steps": 2}, dynamics={"keep": keep})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_run(config, whole, device="cpu")
    stopped_after(1, config, parts)  # before any checkpoint, then after one within the epoch, then after one at its end
    for step in (4, 5, 6):
        stopped_after(step, None, parts, resume=True)
    train_run(None, parts, device="cpu", resume=True)
    assert_same_run(whole, parts)
    assert Run.open(parts).dynamics["clean"].level == keep


def test_a_block_in_pieces_is_written_again(tmp_path):
    config, folder = config_of(), tmp_path / "run"
    train_run(config, tmp_path / "whole", device="cpu")
    stopped_after(4, config, folder)
    path = folder / "dynamics" / "train-adversarial.columns"
    with path.open("ab") as file:  # of an epoch whose checkpoint was not written
        file.write(path.read_bytes()[4096:-20])
    assert Run.open(folder).dynamics["adversarial"].epochs == (1,)
    train_run(None, folder, device="cpu", resume=True)
    assert_same_run(tmp_path / "whole", folder)


@pytest.mark.parametrize("how", ["gone", "shorter", "damaged"])
def test_a_run_is_not_gone_on_with_where_epochs_are_missing(how, tmp_path):
    folder = tmp_path / "run"
    stopped_after(6, config_of(), folder)
    path = folder / "dynamics" / "train-adversarial.columns"
    content = path.read_bytes()
    if how == "gone":
        for file in path.parent.iterdir():
            file.unlink()
    else:
        path.write_bytes(content[:-1] if how == "shorter" else content[:5000] + b"\xff\xff" + content[5002:])
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError, match=r"columns: (has [01] epochs up to epoch 2, but.* counts 2|damaged)"):
        train_run(None, folder, device="cpu", resume=True)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_run_from_before_there_were_dynamics_goes_on(tmp_path):
    folder = tmp_path / "run"
    stopped_after(4, config_of(dynamics={"keep": "none"}), folder)
    assert not (folder / "dynamics").exists()
    assert list(Run.open(folder).dynamics) == []
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("dynamics: {keep: none}\n", ""))
    assert "dynamics" not in path.read_text()
    train_run(None, folder, device="cpu", resume=True)
    assert Run.open(folder).dynamics["adversarial"].epochs == (2, 3)


def test_what_is_kept_is_not_changed_midway(tmp_path):
    stopped_after(4, config_of(), tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"dynamics\.keep is auto there and full now"):
        train_run(config_of(dynamics={"keep": "full"}), tmp_path / "run", device="cpu", resume=True)
    with pytest.raises(ConfigError, match=r"dynamics\.keep"):
        config_of(dynamics={"keep": "all"})


def test_a_longer_run_goes_on_with_the_same_file(tmp_path):
    longer, whole = tmp_path / "longer", tmp_path / "whole"
    for epochs, resume in ((2, False), (4, True)):
        train_run(config_of(epochs=epochs), longer, device="cpu", resume=resume)
    train_run(config_of(epochs=4), whole, device="cpu")
    assert_same_run(longer, whole)


def keeping(written):
    """Takes what is to be written, as copies."""

    def write(view, epoch, numbers, running, n_classes):
        copies = ({name: array.copy() for name, array in arrays.items()} for arrays in (numbers, running))
        written.append((view, epoch, *copies, n_classes))

    return write


def test_logits_that_are_not_finite_count_as_not_seen():
    y = torch.tensor([0, 1, 1])
    dynamics = Dynamics(3, y.device)
    written = []
    for logits in ([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]], [[1.0, 0.0], [float("nan"), 0.0], [0.0, float("inf")]]):
        dynamics.take_step(Batch(y, y, torch.arange(3)), Outputs(adv=torch.tensor(logits)), Share(3))
        dynamics.end_epoch(len(written) + 1, keeping(written))
    assert written[1][2]["predicted"].tolist() == [0, -1, -1]
    assert np.isnan(written[1][2]["loss"]).tolist() == [False, True, True]
    running = written[1][3]
    assert running["n_epochs"].tolist() == [2, 1, 1]
    assert running["margin_mean"].tolist() == [1.0, 2.0, -1.0]
    assert np.isfinite(running["probabilities"]).all()


def test_a_sample_drawn_several_times_has_the_mean_and_another_none():
    y = torch.tensor([0, 1, 1])
    dynamics = Dynamics(3, y.device)
    for index, logits in (([1, 0], [[2.0, 0.0], [3.0, 0.0]]), ([1], [[0.0, 4.0]])):
        index = torch.tensor(index)
        dynamics.take_step(Batch(y[index], y[index], index), Outputs(adv=torch.tensor(logits)), Share(len(index)))
    written = []
    dynamics.end_epoch(1, keeping(written))
    view, epoch, numbers, running, n_classes = written[0]
    assert (view, epoch, n_classes) == ("adversarial", 1, 2)
    assert numbers["margin"].tolist()[:2] == [3.0, 1.0]
    assert numbers["predicted"].tolist() == [0, 1, -1]
    p = (1 / (1 + math.exp(2)) + 1 / (1 + math.exp(-4))) / 2
    assert numbers["probability"][1] == pytest.approx(p, rel=1e-6)
    assert running["probabilities"][1, 1] == pytest.approx(p, rel=1e-6)
    assert np.isnan(running["loss_mean"]).tolist() == [False, False, True]


def test_compact_margins_keep_their_size():
    sizes = np.logspace(-3, 1.4, 200)
    margins = np.concatenate([-sizes[::-1], [0.0], sizes])
    kept = MARGINS[encode_margin(margins)]
    assert (np.abs(kept - margins) <= np.maximum(1 / 64, 0.016 * np.sqrt(1 + margins**2)) + 1e-6).all()
    assert (np.diff(kept) >= 0).all()
    assert MARGINS[encode_margin(np.array([1e9, -1e9]))].tolist() == pytest.approx([26.45, -26.45], rel=1e-2)
    assert np.isnan(MARGINS[encode_margin(np.array([np.nan]))]).all()


def test_compact_keeps_what_full_keeps(tmp_path):
    for keep in ("full", "compact"):
        train_run(config_of(dynamics={"keep": keep}), tmp_path / keep, device="cpu")
    full, compact = (Run.open(tmp_path / keep).dynamics["adversarial"] for keep in ("full", "compact"))
    assert (full.predicted == compact.predicted).all()
    np.testing.assert_allclose(compact.margin, full.margin.astype(np.float32), rtol=0.025, atol=0.02)
    for name, values in full.running.items():
        np.testing.assert_array_equal(values, compact.running[name])
    with pytest.raises(KeyError, match="loss of each epoch was not kept"):
        _ = compact.loss


def test_auto_keeps_statistics_alone_beyond_the_limit_and_what_a_run_began_with(tmp_path, monkeypatch):
    from overfit_lab.records import dynamics_writer

    longer = tmp_path / "longer"
    monkeypatch.setattr(dynamics_writer, "LIMIT", 69 * 3)
    train_run(config_of(epochs=3), longer, device="cpu")
    train_run(config_of(epochs=4), longer, device="cpu", resume=True)
    assert Run.open(longer).dynamics["adversarial"].epochs == (1, 2, 3, 4)
    train_run(config_of(epochs=4), tmp_path / "whole", device="cpu")
    found = Run.open(tmp_path / "whole").dynamics["adversarial"]
    assert (found.level, found.epochs, found.running_epoch) == ("running", (), 4)
    for name, values in Run.open(longer).dynamics["adversarial"].running.items():
        np.testing.assert_array_equal(values, found.running[name])


def test_the_report_says_what_there_is(tmp_path):
    from overfit_lab.views.report.sections.environment import facts

    train_run(config_of(objective="trades", dynamics={"keep": "compact"}), tmp_path / "run", device="cpu")
    run = Run.open(tmp_path / "run")
    assert facts(run)["dynamics of samples"] == "adversarial compact, 3 epochs; clean compact, 3 epochs"
    (tmp_path / "run" / "dynamics" / "train-clean.columns").write_bytes(b"x")
    assert facts(Run.open(tmp_path / "run"))["dynamics of samples"].endswith("; clean damaged")
