"""The callback in every precision of Lightning's Trainer that a CPU can do, and in loops that are not plain."""

import copy

import pytest
import torch
from torch.nn import functional
from trainers import BATCH, assert_same_weights, digits, net

lightning = pytest.importorskip("lightning", reason="lightning is not installed: pip install 'overfit-lab[lightning]'")
pl = pytest.importorskip("lightning.pytorch")

from dense import dense_numbers, measured_numbers  # noqa: E402
from overfit_lab.errors import ProbeError  # noqa: E402
from overfit_lab.monitor.integrations.lightning import OverfitCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*training_step. returned .None."),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]
PRECISIONS = ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-true"]
TRAIN, TEST = digits()
N = 40


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x)

    def loss(self, batch):
        x = batch[0].to(self.net[1].weight.dtype)
        return functional.cross_entropy(self(x), batch[1])

    def training_step(self, batch, index):
        return self.loss(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def fit(module, tmp_path, callbacks, **options):
    data = torch.utils.data.TensorDataset(TRAIN[0].float() / 255, TRAIN[1])
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **options,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=BATCH))
    return module


def watcher(**options):
    given = {"probes": ["gradient-norm", "iiw", "calibration", "hessian"], "n": N, "model": lambda m: m.net, **options}
    return OverfitCallback({"train": TRAIN, "test": TEST}, **given)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_measured_to_its_digits_and_not_disturbed(tmp_path, precision):
    alone, watched = fit(Classifier(), tmp_path, [], precision=precision), Classifier()
    watch = watcher()
    fit(watched, tmp_path, [watch], precision=precision)
    assert_same_weights(alone, watched)
    assert not watch.monitor.failed
    reference = watch.monitor.reference
    order = watch.monitor.data.splits["train"].order[:N]
    expected = dense_numbers(watched.net, reference, TRAIN[0][order] / 255, TRAIN[1][order], 200)
    del expected["nll"]
    measured = measured_numbers(watch.records)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    order = watch.monitor.data.splits["test"].order[:N]
    nll = dense_numbers(watched.net, reference, TEST[0][order] / 255, TEST[1][order], 200)["nll"]
    assert measured_numbers(watch.records, "test")["nll"] == pytest.approx(nll, rel=1e-4)
    readings = watch.records[watch.records["field"] == "grad_norm_minibatch"]
    assert (readings["value"] > 0).all()
    assert readings["n"].tolist() == [200, 200]


class Skips(Classifier):
    def training_step(self, batch, index):
        return None if index in (1, 2) else self.loss(batch)


@pytest.mark.parametrize(("parts", "steps", "n"), [(1, 2, 100), (2, 2, 100), (4, 1, 100)])
def test_a_skipped_batch_is_no_step_and_its_samples_do_not_count(tmp_path, parts, steps, n):
    watch = watcher(probes=[])
    norms = []

    class Reads(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if gradients:
                norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())

    fit(Skips(), tmp_path, [watch, Reads()], accumulate_grad_batches=parts)
    records = watch.records
    last = records[records["epoch"] == 2].set_index("field")
    assert last.loc["grad_norm_minibatch", "n"] == n
    assert last.loc["loss", "n"] == 100
    assert records["step"].max() == 2 * steps
    assert last.loc["grad_norm_minibatch", "value"] == pytest.approx(sum(norms[steps:]) / steps, rel=1e-6)


class Manual(Classifier):
    """Two optimisers, each of its own layers, with a backward pass of its own."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        return loss.detach()

    def configure_optimizers(self):
        layers = (self.net[1], torch.nn.ModuleList([self.net[2], self.net[4]]))
        return [torch.optim.SGD(layer.parameters(), lr=0.05) for layer in layers]


class Closures(Classifier):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


@pytest.mark.parametrize("kind", [Manual, Closures])
def test_several_optimisers_and_closures_of_a_batch_are_one_step(tmp_path, kind):
    alone, watched = fit(kind(), tmp_path, []), kind()
    watch = watcher()
    fit(watched, tmp_path, [watch])
    assert_same_weights(alone, watched)
    assert not watch.monitor.failed
    assert watch.records["step"].max() == 8
    readings = watch.records[watch.records["field"] == "grad_norm_minibatch"]
    assert readings["n"].tolist() == [200, 200]
    reference = copy.deepcopy(watch.monitor.reference)
    order = watch.monitor.data.splits["train"].order[:N]
    expected = dense_numbers(watched.net, reference, TRAIN[0][order] / 255, TRAIN[1][order], 200)
    assert measured_numbers(watch.records)["full"] == pytest.approx(expected["full"], rel=1e-3)


class FailsLate(Classifier):
    """A network that cannot be attacked or differentiated once it was trained for an epoch."""

    def forward(self, x):
        if self.current_epoch >= 1 and not self.training:
            raise RuntimeError("a buffer is missing")
        return self.net(x)


def test_what_fails_later_ends_the_fit_where_it_is_asked_for_alone(tmp_path, capsys):
    watch = watcher(model=None, probes=["calibration"])
    fit(FailsLate(), tmp_path, [watch])
    assert set(watch.monitor.failed) == {"evaluation", "calibration"}
    assert capsys.readouterr().err.count("a buffer is missing") == 2
    with pytest.raises(RuntimeError, match="a buffer is missing"):
        fit(FailsLate(), tmp_path, [watcher(model=None, probes=["calibration"], strict=True)])


class NoLogits(Classifier):
    def forward(self, x):
        return None if not self.training else self.net(x)


def test_a_module_without_logits_is_refused_before_the_fit(tmp_path):
    with pytest.raises(ProbeError, match="NoLogits: gives NoneType for one image"):
        fit(NoLogits(), tmp_path, [watcher(model=None)])
