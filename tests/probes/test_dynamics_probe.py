"""Numbers of each sample at a moment, by hand, in plain loops, and of every checkpoint of a run."""

import math

import numpy as np
import pytest
import torch

from factories import make_snapshot
from overfit_lab.errors import RunFolderError
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.dynamics import DynamicsProbe
from overfit_lab.probes.metrics.sample_outputs import LARGEST, sample_outputs
from overfit_lab.records.dynamics import QUANTITIES, joined
from overfit_lab.records.reader import Run
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from tiny import tiny_config
from transcribed_dynamics import said


def test_by_hand():
    found = sample_outputs(torch.tensor([[0.0, math.log(3), 0.0]], dtype=torch.float64), torch.tensor([0]))
    assert found.probabilities.tolist()[0] == pytest.approx([0.2, 0.6, 0.2])
    assert found.loss.item() == pytest.approx(math.log(5))
    assert found.margin.item() == pytest.approx(-math.log(3))
    assert found.probability.item() == pytest.approx(0.2)
    assert found.distance.item() == pytest.approx(math.sqrt(0.8**2 + 0.6**2 + 0.2**2))
    assert found.predicted.item() == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sure_predictions_keep_their_digits(dtype):
    logits = torch.tensor([[40.0, 0.0, -40.0], [0.0, 40.0, 0.0], [3e38, -3e38, 0.0]], dtype=dtype)
    found = sample_outputs(logits, torch.tensor([0, 0, 1]))
    assert found.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.loss[:2].tolist() == [0.0, 40.0]
    assert found.distance[1:].tolist() == pytest.approx([math.sqrt(2)] * 2)
    assert found.loss[2] == LARGEST
    assert found.margin[2] == -LARGEST
    assert found.finite.all()


def test_logits_that_are_not_finite_are_told():
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [float("inf"), 0.0], [0.0, float("-inf")]])
    assert sample_outputs(logits, torch.tensor([0, 0, 0, 0])).finite.tolist() == [True, False, False, False]


def test_the_probe_equals_plain_loops():
    snapshot = make_snapshot()
    measurement, _ = run_probe(DynamicsProbe(DynamicsProbe.Options(n=30)), snapshot)
    for inputs in ("clean", "adversarial"):
        view = snapshot.view("train", inputs, 30)
        rows = [said(z, y) for z, y in zip(view.logits.double().tolist(), view.y.tolist(), strict=True)]
        numbers = np.array([values for values, _, _ in rows])
        values = {value.field: value for value in measurement.values if value.inputs == inputs}
        for i, name in enumerate(QUANTITIES):
            kept = measurement.arrays[f"{name}-train-{inputs}"]
            np.testing.assert_allclose(kept, numbers[:, i], rtol=2**-10, atol=1e-6)
            assert values[name].value == pytest.approx(numbers[:, i].mean(), rel=1e-6)
            assert values[name].stderr == pytest.approx(numbers[:, i].std(ddof=1) / math.sqrt(30), rel=1e-5)
        right = [predicted == y for (_, predicted, _), y in zip(rows, view.y.tolist(), strict=True)]
        assert values["accuracy"].value == pytest.approx(np.mean(right))
        assert measurement.arrays[f"predicted-train-{inputs}"].tolist() == [predicted for _, predicted, _ in rows]
        assert measurement.arrays[f"index-train-{inputs}"].tolist() == view.index.tolist()


def test_every_checkpoint_becomes_a_column(tmp_path):
    folder = tmp_path / "run"
    train_run(tiny_config("hard", probes={}, dynamics={"keep": "none"}), folder, device="cpu")
    probe_run(folder, ["dynamics"], checkpoint="all", n=50, device="cpu")
    run = Run.open(folder)
    for inputs in ("clean", "adversarial"):
        found = run.probed_dynamics(inputs=inputs)
        assert found.epochs == (0, 1, 2, 3, 4)
        assert found.margin.shape == found.predicted.shape == (50, 5)
        assert (np.diff(found.index) > 0).all()
        means = run.series("dynamics", "loss", "train", inputs)
        np.testing.assert_allclose(found.loss.astype(float).mean(axis=0), means["value"], rtol=1e-3)
    clean, adversarial = (run.probed_dynamics(inputs=inputs).loss.astype(float) for inputs in ("clean", "adversarial"))
    assert adversarial[:, 1:].mean() > clean[:, 1:].mean()
    assert run.probed_dynamics("test").epochs == ()
    assert not (folder / "dynamics").exists()


def test_epochs_of_more_and_fewer_samples_share_those_that_both_have():
    def arrays(index):
        index = np.array(index)
        kept = {f"{name}-train-clean": index.astype("f2") for name in QUANTITIES}
        return {**kept, "predicted-train-clean": index, "index-train-clean": index}

    found = joined({2: arrays([5, 1, 9, 3]), 1: arrays([9, 5, 0]), 4: {}}, "train", "clean")
    assert found.epochs == (1, 2)
    assert found.index.tolist() == [5, 9]
    assert found.margin.tolist() == [[5.0, 5.0], [9.0, 9.0]]
    damaged = {**arrays([1, 2]), "loss-train-clean": np.zeros(3)}
    with pytest.raises(RunFolderError, match="of epoch 3: damaged, they are not of the same samples"):
        joined({3: damaged}, "train", "clean")
