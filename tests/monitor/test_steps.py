"""What counts as a step of the optimiser in a loop of one's own, and what is said of samples that nobody named."""

import copy
import math

import pandas as pd
import pytest
import torch
from loops import arrays, stranger
from torch import nn
from torch.nn import functional

from overfit_lab.errors import ProbeError
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.reader import Run
from overfit_lab.records.records import Record, standing_records
from overfit_lab.training.events import GradientsReady
from overfit_lab.training.information import InformationTally, slope_of
from overfit_lab.training.tally import Tally, total_norm

TRAIN, TEST = arrays()


def batches(size=50, n=200):
    return [(TRAIN[0][at] / 255, TRAIN[1][at]) for at in torch.arange(n).split(size)]


def loss_of(model, batch, **options):
    return functional.cross_entropy(model(batch[0]), batch[1], **options)


def norm_of(parameters):
    return math.sqrt(sum(p.grad.double().square().sum().item() for p in parameters if p.grad is not None))


def number(monitor, field, column="value"):
    rows = monitor.records[monitor.records["field"] == field]
    assert len(rows) == 1, rows
    return rows[column].item()


def watch(model, **options):
    return Monitor(model, TRAIN, n=20, **{"probes": [], **options})


def test_samples_that_nobody_named_are_not_known(tmp_path):
    model = stranger()
    monitor = watch(model, probes=["gradient-norm"], folder=tmp_path / "run")
    for batch in batches(60):
        model.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        monitor.gradients_ready(loss)
    monitor.epoch_ended()
    monitor.close()
    records = monitor.records
    named = records[records["field"].isin(["loss", "grad_norm_minibatch", "iiw_pib_minibatch", "slope_minibatch"])]
    assert len(named) == 4
    assert named["n"].isna().all()
    assert "minibatch" not in set(records["field"])  # the batch size is not known
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert [Record.from_json(line).n for line in lines if '"loss"' in line] == [None]
    run = Run.open(tmp_path / "run")
    assert run.series("training", "loss", "train", "")["n"].isna().all()
    assert run.series("evaluation", "acc_clean", "train", "clean")["n"].tolist() == [20]
    assert standing_records([Record.from_json(line) for line in lines if '"loss"' in line])[0].n is None


@pytest.mark.parametrize(("given", "said", "n"), [(50, None, 200), (None, 50, 200), (50, 7, 28), (50, 0, None)])
def test_samples_are_those_that_were_said(given, said, n):
    model = stranger()
    monitor = watch(model, batch_size=given, probes=["gradient-norm"])
    for batch in batches():
        loss_of(model, batch).backward()
        monitor.gradients_ready(n=said)
    monitor.epoch_ended()
    known = number(monitor, "grad_norm_minibatch", "n")
    assert (n is None and pd.isna(known)) or known == n
    assert ("minibatch" in set(monitor.records["field"])) is (given is not None)


def test_losses_of_samples_are_their_mean_and_say_their_number():
    model = stranger().eval()
    means, monitor = [], watch(model, batch_size=128)
    for batch in batches(60):
        model.zero_grad()
        losses = loss_of(model, batch, reduction="none")
        losses.mean().backward()
        means += losses.tolist()
        monitor.gradients_ready(losses)
    monitor.epoch_ended()
    assert number(monitor, "loss") == pytest.approx(sum(means) / 200, rel=1e-6)
    assert number(monitor, "loss", "n") == number(monitor, "grad_norm_minibatch", "n") == 200
    monitor.gradients_ready(0.5, n=1)
    monitor.epoch_ended()
    assert monitor.records[monitor.records["field"] == "loss"]["value"].tolist()[1] == 0.5


def test_where_there_is_no_gradient_there_is_no_step():
    model = stranger()
    monitor, heard = watch(model), []
    monitor.on(GradientsReady, heard.append)
    monitor.gradients_ready(torch.tensor(1.0))
    monitor.epoch_ended()
    assert "grad_norm_minibatch" not in set(monitor.records["field"])
    assert "loss" not in set(monitor.records["field"])
    assert not heard
    assert set(monitor.records["step"]) == {0}
    other = nn.Linear(3, 3)
    loss_of(model, batches()[0]).backward()
    monitor.gradients_ready(optimizer=torch.optim.SGD(other.parameters(), lr=0.1))
    monitor.epoch_ended()
    assert set(monitor.records["step"]) == {0}


def test_two_optimisers_are_one_step_over_all_parameters():
    model = stranger()
    first, second = torch.optim.SGD(model[1].parameters(), lr=0.1), torch.optim.Adam(model[5].parameters(), lr=1e-3)
    monitor, wholes = watch(model), []
    theta_0 = {name: p.detach().clone() for name, p in model.named_parameters()}
    slopes = []
    for i, batch in enumerate(batches()):
        model.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        wholes.append(norm_of([*model[1].parameters(), *model[5].parameters()]))
        slopes.append(
            sum(((p - theta_0[name]) * p.grad).sum().item() for name, p in model.named_parameters() if name[0] in "15")
        )
        for optimizer in (first, second):
            monitor.gradients_ready(loss, len(batch[1]), step=i, optimizer=optimizer)
        for optimizer in (first, second):
            optimizer.step()
    monitor.epoch_ended()
    assert number(monitor, "grad_norm_minibatch") == pytest.approx(sum(wholes) / 4, rel=1e-6)
    assert number(monitor, "grad_norm_minibatch", "n") == number(monitor, "loss", "n") // 2 == 200
    assert number(monitor, "slope_minibatch") == pytest.approx(sum(slopes) / 4, rel=1e-4)
    assert set(monitor.records["step"]) == {4}


def test_of_lbfgs_closures_the_first_counts():
    model = stranger().eval()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    monitor, norms, calls = watch(model), [], []

    for i, batch in enumerate(batches(100)):
        seen = []

        def closure(batch=batch, i=i, seen=seen):
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            seen.append(norm_of(model.parameters()))
            monitor.gradients_ready(loss, len(batch[1]), step=i, optimizer=optimizer)
            return loss

        optimizer.step(closure)
        norms.append(seen[0])
        calls.append(len(seen))
    monitor.epoch_ended()
    assert min(calls) > 1
    assert number(monitor, "grad_norm_minibatch") == pytest.approx(sum(norms) / 2, rel=1e-6)
    assert number(monitor, "loss", "n") == 200
    assert set(monitor.records["step"]) == {2}


def test_a_step_that_a_gradient_scaler_passes_over_is_none():
    model = stranger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    monitor, norms = watch(model), []
    for i, batch in enumerate(batches()):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        scaler.scale(loss).backward()
        if i == 1:
            model[1].weight.grad[0, 0] = torch.inf
        scaler.unscale_(optimizer)
        if i != 1:
            norms.append(norm_of(model.parameters()))
        monitor.gradients_ready(n=50, step=i, optimizer=optimizer, scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
    monitor.epoch_ended()
    assert number(monitor, "grad_norm_minibatch") == pytest.approx(sum(norms) / 3, rel=1e-6)
    assert number(monitor, "grad_norm_minibatch", "n") == number(monitor, "slope_minibatch", "n") == 150
    assert set(monitor.records["step"]) == {3}
    model[1].weight.grad[0, 0] = torch.nan
    monitor.gradients_ready(n=50)
    monitor.epoch_ended()  # without a scaler an optimiser steps along it: it counts, and the mean is null
    rows = monitor.records[monitor.records["epoch"] == 2].set_index("field")
    assert math.isnan(rows.loc["grad_norm_minibatch", "value"])
    assert rows.loc["grad_norm_minibatch", "n"] == 50
    assert rows.loc["grad_norm_minibatch", "step"] == 4


def test_clipped_and_other_gradients_of_one_epoch_have_their_own_names():
    model = stranger()
    monitor, norms = watch(model), []
    for clipped in (True, False):
        model.zero_grad()
        loss_of(model, batches()[0]).backward()
        norms.append(norm_of(model.parameters()))
        monitor.gradients_ready(n=50, clipped=clipped)
    monitor.epoch_ended()
    assert number(monitor, "grad_norm_minibatch-clipped") == pytest.approx(norms[0], rel=1e-6)
    assert number(monitor, "grad_norm_minibatch") == pytest.approx(norms[1], rel=1e-6)
    assert number(monitor, "slope_minibatch", "n") == 50


@pytest.mark.parametrize("epoch", [2, 1, 0, -1, 1.5, "2"])
def test_an_epoch_that_was_measured_is_not_measured_again(epoch, capsys):
    monitor = watch(stranger())
    monitor.epoch_ended()
    monitor.epoch_ended(2)
    before = monitor.records
    monitor.epoch_ended(epoch)
    assert monitor.records.equals(before)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"overfit-lab: epoch_ended({epoch!r}): ")
    monitor.epoch_ended()
    monitor.epoch_ended(7)
    assert sorted(set(monitor.records["epoch"])) == [1, 2, 3, 7]
    strict = watch(stranger(), strict=True)
    strict.epoch_ended(2)
    with pytest.raises(ProbeError, match="epoch_ended"):
        strict.epoch_ended(epoch)


def test_epochs_may_be_counted_from_0():
    monitor = watch(stranger())
    for epoch in range(3):
        monitor.epoch_ended(epoch)
    assert sorted(set(monitor.records["epoch"])) == [0, 1, 2]
    other = watch(stranger())
    other.load_state_dict(monitor.state_dict(), epoch=1)
    other.epoch_ended(1)
    other.epoch_ended(2)
    assert sorted(set(other.records["epoch"])) == [0, 1, 2]


def test_numbers_of_ones_own_that_are_none_are_left_out(capsys):
    monitor = watch(stranger())
    monitor.epoch_ended(lr=torch.tensor(0.1), note="warm", gamma=None)
    assert number(monitor, "lr") == pytest.approx(0.1)
    assert {"note", "gamma"}.isdisjoint(monitor.records["field"])
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_gradient_that_cannot_be_read_ends_nothing(capsys):
    model = stranger()
    monitor = watch(model)
    loss_of(model, batches()[0]).backward()
    monitor.gradients_ready(n=50)
    monitor.reference["1.weight"] = torch.zeros(3)
    monitor.gradients_ready(n=50)
    monitor.gradients_ready(n=50)
    monitor.epoch_ended()
    assert set(monitor.failed) == {"training"}
    assert "grad_norm_minibatch" not in set(monitor.records["field"])
    assert set(monitor.records["step"]) == {3}
    assert len(capsys.readouterr().err.splitlines()) == 1


class Kinds(nn.Module):
    """Parameters of several kinds, each with a gradient: sparse, half precision, complex."""

    def __init__(self, kind):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3, generator=generator).to(kind))


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, "sparse"]
)
def test_norm_and_slope_of_every_kind_of_gradient(kind):
    model = Kinds(torch.float32 if kind == "sparse" else kind)
    reference = {"weight": model.weight.detach() * 0.5}
    gradient = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(model.weight.dtype)
    model.weight.grad = gradient.to_sparse() if kind == "sparse" else gradient * 300
    dense = model.weight.grad.to_dense()
    wide = torch.complex128 if dense.is_complex() else torch.float64
    d, g = (t.detach().to(wide) for t in (model.weight - reference["weight"], dense))
    assert total_norm([model.weight.grad]).item() == pytest.approx(torch.linalg.vector_norm(g).item(), rel=1e-6)
    assert slope_of({"weight": model.weight}, reference).item() == pytest.approx(
        (d * g.conj()).sum().real.item(), rel=1e-5
    )
    assert total_norm([torch.full((9,), 3e4, dtype=torch.float16)]).item() == pytest.approx(9e4)


def test_tallies_of_a_run_are_as_they_were():
    """The same numbers to the bit whether steps are put together by a monitor or by a run."""
    model = stranger()
    monitor = watch(model)
    reference = copy.deepcopy(monitor.reference)
    tally, information = Tally(torch.device("cpu")), InformationTally(reference)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i, batch in enumerate(batches()):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        monitor.gradients_ready(loss, 50, step=i, optimizer=optimizer)
        tally.add(loss.detach(), model, 50)
        information.add(model, 50)
        optimizer.step()
    monitor.epoch_ended()
    rows = monitor.records[monitor.records["probe"] == "training"]
    values = [*tally.values(), *information.values(200)]
    assert rows["field"].tolist() == [value.field for value in values]
    assert rows["value"].tolist() == [value.value for value in values]
    assert rows["n"].tolist() == [200] * 4
