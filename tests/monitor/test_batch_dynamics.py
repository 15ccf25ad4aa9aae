"""Per-sample dynamics of a stranger's loop: those of plain loops over its logits, whatever draws its batches."""

import numpy as np
import pytest
import torch
from loops import arrays, stranger
from torch.nn import functional

from overfit_lab.errors import ConfigError, ProbeError
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.reader import Run
from transcribed_dynamics import assert_transcribed

EPOCHS = 3


def steps(sampler, epoch, n=200):
    """Index of each batch: a shuffle with a small last batch, or draws by weight, with some samples drawn again."""
    stream = torch.Generator().manual_seed(epoch)
    if sampler == "shuffled":
        return torch.randperm(n, generator=stream).split(70)
    return torch.multinomial(torch.arange(1.0, n + 1), n, replacement=True, generator=stream).split(50)


def loop(monitor, sampler="shuffled", *, first=0, epochs=EPOCHS, captured=None, model=None, clean=False):
    model = monitor.model if model is None else model
    x, y = arrays()[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for epoch in range(first, epochs):
        torch.manual_seed(epoch)
        model.train()
        for index in steps(sampler, epoch):
            logits = model(x[index] / 255)
            optimizer.zero_grad()
            functional.cross_entropy(logits, y[index]).backward()
            monitor.batch(index, logits, y[index])
            if captured is not None:
                captured.append((index.tolist(), y[index].tolist(), {"clean": logits.detach().double().numpy()}))
            optimizer.step()
        monitor.epoch_ended()


def watch(folder=None, **options):
    given = {"probes": [], "n": 20, "seed": 0, "method": "mine", "strict": True, **options}
    return Monitor(stranger(), arrays()[0], folder=folder, **given)


@pytest.mark.parametrize("sampler", ["shuffled", "weighted"])
def test_records_equal_plain_loops(sampler, tmp_path):
    captured, monitor = [], watch(tmp_path / "run")
    loop(monitor, sampler, captured=captured)
    monitor.close()
    assert not monitor.failed
    assert list(monitor.dynamics) == ["clean"]
    assert_transcribed(Run.open(tmp_path / "run").dynamics["clean"], captured)
    if sampler == "weighted":
        assert np.isnan(monitor.dynamics["clean"].loss).any()
        assert max(len(index) - len(set(index)) for index, _, _ in captured) > 0


def test_without_a_folder_statistics_are_kept(tmp_path):
    captured, monitor = [], watch()
    loop(monitor, captured=captured)
    found = monitor.dynamics["clean"]
    assert (found.level, found.running_epoch) == ("running", 3)
    assert_transcribed(found, captured)


def test_samples_of_a_set_count_though_few_are_kept(tmp_path):
    x, y = arrays()[0]
    data = torch.utils.data.TensorDataset(x.float() / 255, y)
    monitor = Monitor(stranger(), data, folder=tmp_path / "run", probes=[], n=10, strict=True)
    loop(monitor)
    monitor.close()
    assert monitor.dynamics["clean"].margin.shape == (200, 3)
    assert not np.isnan(monitor.dynamics["clean"].margin).any()


@pytest.mark.parametrize("before_the_end", [False, True])
def test_a_resumed_loop_has_the_same_to_the_bit(before_the_end, tmp_path):
    whole = watch(tmp_path / "whole")
    loop(whole)
    whole.close()
    first = watch(tmp_path / "parts")
    if before_the_end:  # as trainers that write checkpoints before their callbacks end the epoch
        ended, states = first.epoch_ended, []
        first.epoch_ended = lambda: (states.append(copied(first)), ended())
        loop(first, epochs=2)
        state, weights = states[-1]
    else:
        loop(first, epochs=2)
        state, weights = copied(first)
        first.model(arrays()[0][0] / 255)
    first.close("interrupted")
    second = watch(tmp_path / "parts", resume=True)
    second.model.load_state_dict(weights)
    second.load_state_dict(state, epoch=2)
    loop(second, first=2)
    second.close()
    for path in (tmp_path / "whole" / "dynamics").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "dynamics" / path.name).read_bytes()


def copied(monitor):
    return monitor.state_dict(), {name: tensor.clone() for name, tensor in monitor.model.state_dict().items()}


def test_a_loop_that_does_not_say_how_far_it_was_writes_over(tmp_path):
    again = watch(tmp_path / "other")
    loop(again, epochs=1)
    again.close()
    third = watch(tmp_path / "other", resume=True)
    loop(third, epochs=2)
    third.close()
    assert third.dynamics["clean"].epochs == (1, 2)


WRONG = {
    "shapes": (lambda i, z, y: (i[:-1], z, y), r"index, logits and y are \(69,\), \(70, 10\), \(70,\); expected"),
    "no classes": (lambda i, z, y: (i, z.argmax(1), y), r"expected \(b,\), \(b, K\), \(b,\)"),
    "soft labels": (lambda i, z, y: (i, z, y.float()), r"expected whole numbers"),
    "other classes": (lambda i, z, y: (i, z[:, :7], y), "7 logits, expected 10 as before"),
    "view": (lambda i, z, y: (i, z, y, "noisy"), "inputs 'noisy': expected adversarial or clean"),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("how", list(WRONG))
def test_what_does_not_fit_is_said_once_and_training_goes_on(how, strict, capsys):
    monitor = watch(strict=strict)
    change, message = WRONG[how]
    index, y = torch.arange(70), torch.arange(70) % 10
    monitor.batch(index, torch.zeros(70, 10), y)

    def wrong():
        *parts, inputs = (*change(index, torch.zeros(70, 10), y), None)[:4]
        monitor.batch(*parts, inputs=inputs)

    if strict:
        with pytest.raises((ProbeError, ValueError), match=message):
            wrong()
    else:
        wrong()
        wrong()
        assert capsys.readouterr().err.count("dynamics") == 1
        assert list(monitor.failed) == ["dynamics"]
    monitor.epoch_ended()
    assert monitor.dynamics["clean"].running["n_epochs"].sum() == 70


def test_rows_of_no_sample_count_for_nothing_and_are_said(capsys):
    monitor = watch()
    index, y, logits = torch.tensor([0, 200, -1, 3, 4, 5]), torch.tensor([1, 1, 1, -100, 10, 2]), torch.zeros(6, 10)
    logits[5, 0] = float("nan")
    monitor.batch(index, logits, y)
    monitor.epoch_ended()
    assert monitor.dynamics["clean"].running["n_epochs"].nonzero()[0].tolist() == [0]
    assert "5 rows of batches had no such sample or class, or logits that are not finite" in monitor.failed["dynamics"]
    assert np.isfinite(monitor.dynamics["clean"].running["loss_mean"][0])


def test_both_views_and_levels(tmp_path):
    monitor = watch(tmp_path / "run", dynamics="compact")
    index, y = torch.arange(200), arrays()[0][1]
    for inputs in ("adversarial", "clean"):
        monitor.batch(index.numpy(), torch.zeros(200, 10), y.numpy(), inputs=inputs)
    monitor.epoch_ended()
    monitor.close()
    found = Run.open(tmp_path / "run")
    assert {view: dynamics.level for view, dynamics in found.dynamics.items()} == {
        "adversarial": "compact",
        "clean": "compact",
    }
    assert found.config.dynamics.keep == "compact"
    with pytest.raises(ConfigError, match=r"dynamics = 'all': expected auto, full, compact, running or none"):
        watch(dynamics="all")
    nothing = watch(tmp_path / "none", dynamics="none")
    nothing.batch(index, torch.zeros(200, 10), y)
    nothing.epoch_ended()
    nothing.close()
    assert not (tmp_path / "none" / "dynamics").exists()
    assert dict(nothing.dynamics) == {}
