"""The callback in a real Trainer of Lightning's."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn import functional
from trainers import (
    BATCH,
    EPOCHS,
    PROBES,
    as_floats,
    assert_same_records,
    assert_same_weights,
    digits,
    net,
    plain,
    same_dynamics,
    with_batches,
)

lightning = pytest.importorskip("lightning", reason="lightning is not installed: pip install 'overfit-lab[lightning]'")
pl = pytest.importorskip("lightning.pytorch")

from overfit_lab.errors import ConfigError, ProbeError, RunFolderError  # noqa: E402
from overfit_lab.methods.attacks.pgd import PGD  # noqa: E402
from overfit_lab.methods.threat import ThreatModel  # noqa: E402
from overfit_lab.monitor.integrations.lightning import OverfitCallback, batch_size_of  # noqa: E402
from overfit_lab.monitor.monitor import Monitor  # noqa: E402
from overfit_lab.records.reader import Run  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]
ATTACK = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(train):
    return torch.utils.data.DataLoader(as_floats(train), batch_size=BATCH)


def trainer(folder, callbacks, epochs=EPOCHS, **options):
    options = {"logger": False, "enable_checkpointing": False, **options}
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        log_every_n_steps=1,
        **options,
    )


def fit(module, train, folder, callbacks, epochs=EPOCHS, ckpt_path=None, **options):
    made = trainer(folder, callbacks, epochs, **options)
    made.fit(module, loader(train), ckpt_path=ckpt_path)
    return made


def callback(train, test, **options):
    given = {"probes": PROBES, "attack": ATTACK, "n": 60, "batch_size": BATCH, "model": lambda m: m.net, **options}
    return OverfitCallback({"train": train, "test": test}, **given)


def test_records_are_those_of_a_plain_loop_and_nothing_changes(tmp_path):
    train, test = digits()
    alone, watched = Classifier(), Classifier()
    fit(alone, train, tmp_path, [])
    watch = callback(train, test, folder=tmp_path / "run")
    fit(watched, train, tmp_path, [watch])
    assert_same_weights(alone, watched)
    model = net()
    monitor = Monitor(model, train, test, probes=PROBES, attack=ATTACK, n=60, batch_size=BATCH, n_epochs=EPOCHS)
    plain(model, train, monitor)
    assert_same_weights(model, watched.net)
    assert_same_records(watch.records, monitor.records)
    run = Run.open(tmp_path / "run")
    assert run.info["status"] == "completed"
    assert len(run.records) == len(watch.records)


def test_accumulated_and_clipped_gradients_are_read_whole_and_before_clipping(tmp_path):
    train, test = digits()
    module, model = Classifier(), net()
    watch = callback(train, test, probes=["gradient-norm"])
    fit(module, train, tmp_path, [watch], epochs=1, accumulate_grad_batches=2, gradient_clip_val=1e3)
    monitor = Monitor(model, train, test, probes=["gradient-norm"], attack=ATTACK, n=60, batch_size=BATCH, n_epochs=1)
    plain(model, train, monitor, epochs=1, accumulate=2)
    assert_same_records(watch.records, monitor.records)
    norms = []
    for value in (None, 1e-3):
        watch = callback(train, test, probes=[])
        module = Classifier()
        module.configure_optimizers = lambda module=module: torch.optim.SGD(module.parameters(), lr=0.0)
        fit(module, train, tmp_path, [watch], epochs=1, gradient_clip_val=value)
        records = watch.records
        norms.append(records.loc[records["field"] == "grad_norm_minibatch", "value"].item())
    assert norms[0] == norms[1] > 0.1


def test_the_module_itself_is_measured_by_default_and_its_layers_keep_their_names(tmp_path):
    train, test = digits()
    watch = OverfitCallback(loader(train), test=test, probes=["iiw"], n=60)
    fit(Classifier(), train, tmp_path, [watch], epochs=1)
    layers = set(watch.records["field"][watch.records["field"].str.startswith("layer/")])
    assert layers == {"layer/net.1", "layer/net.2", "layer/net.4"}


class Interrupts(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("folder", [True, False])
def test_a_resumed_fit_measures_from_the_same_theta_0(tmp_path, folder):
    train, test = digits()
    whole = callback(train, test)
    fit(Classifier(), train, tmp_path, [whole], epochs=4)
    out = tmp_path / "run" if folder else None
    keep = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    first = callback(train, test, folder=out)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(Classifier(), train, tmp_path, [first, keep, Interrupts()], epochs=4, enable_checkpointing=True)
    if folder:
        assert Run.open(out).info["status"] == "interrupted"
    second = callback(train, test, folder=out)
    fit(Classifier(), train, tmp_path, [second], epochs=4, ckpt_path=tmp_path / "kept" / "epoch=1.ckpt")
    assert_same_records(second.records, whole.records, tolerance=0)
    if folder:
        assert len(Run.open(out).records) == len(whole.records)
        assert Run.open(out).info["status"] == "completed"


def test_a_checkpoint_without_theta_0_is_refused(tmp_path):
    train, test = digits()
    made = fit(Classifier(), train, tmp_path, [], epochs=1, enable_checkpointing=True)
    made.save_checkpoint(tmp_path / "bare.ckpt")
    with pytest.raises(ProbeError, match="carries no theta_0"):
        fit(Classifier(), train, tmp_path, [callback(train, test)], ckpt_path=tmp_path / "bare.ckpt")


def test_chosen_numbers_go_to_the_loggers(tmp_path):
    train, test = digits()
    logger = pl.loggers.CSVLogger(tmp_path)
    watch = callback(train, test, log=("iiw/iiw", "evaluation/acc_adv"))
    fit(Classifier(), train, tmp_path, [watch], logger=logger)
    logged = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    rows = watch.records
    found = rows[(rows["probe"] == "iiw") & (rows["field"] == "iiw") & (rows["inputs"] == "adversarial")]["value"]
    assert logged["iiw/iiw/train/adversarial"].dropna().tolist() == pytest.approx(found.tolist())
    assert "evaluation/acc_adv/test/adversarial" in logged
    assert "iiw/distance/train/clean" not in logged
    with pytest.raises(ConfigError, match="expected PROBE/FIELD"):
        callback(train, test, log="iiw")


def test_both_packages_trainers_take_the_callback(tmp_path):
    pytest.importorskip("pytorch_lightning")
    from overfit_lab.monitor.integrations import lightning as module

    names = {base.__module__.partition(".")[0] for base in module._bases()}
    assert names == {"lightning", "pytorch_lightning"}


def test_sizes_of_batches():
    x = torch.zeros(7, 2)
    assert [batch_size_of(b) for b in (x, (x, 1), {"a": "text", "b": x}, [[x]], "text", torch.tensor(1.0))] == [
        7, 7, 7, 7, 0, 0,
    ]  # fmt: skip


def test_warnings_of_a_fit_are_lightnings_alone(tmp_path):
    train, test = digits()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Classifier(), train, tmp_path, [callback(train, test)], epochs=1)
    assert not [w for w in caught if "overfit_lab" in w.filename]


def test_a_trial_leaves_the_run_folder_free_and_a_fit_that_goes_on_keeps_theta_0(tmp_path, capsys):
    train, test = digits()
    module = Classifier()
    watch = callback(train, test, probes=["iiw"], folder=tmp_path / "run")
    trainer(tmp_path, [watch], fast_dev_run=True).fit(module, loader(train))
    assert not (tmp_path / "run").exists()
    fit(module, train, tmp_path, [watch])
    theta_0 = {name: tensor.clone() for name, tensor in watch.monitor.reference.items()}
    capsys.readouterr()
    fit(module, train, tmp_path, [watch], epochs=1)
    assert "fitting on after epoch 2: theta_0 is still that of the first fit" in capsys.readouterr().err
    for name, tensor in theta_0.items():
        assert torch.equal(watch.monitor.reference[name], tensor)
    run = Run.open(tmp_path / "run")
    assert sorted(run.records["epoch"].unique()) == [1, 2, 3]
    assert run.info["status"] == "completed"


def test_a_callback_says_what_a_run_is(tmp_path):
    train, test = digits()
    watch = callback(train, test, probes=[], folder=tmp_path / "run", method="TRADES", seed=3, config={"beta": 6})
    fit(Classifier(), train, tmp_path, [watch], epochs=1)
    config = Run.open(tmp_path / "run").config
    assert (config.monitored.method, config.seed, config.monitored.config) == ("TRADES", 3, {"beta": 6})


class Fails(pl.Callback):
    """Breaks a fit at a moment of its own."""

    def __init__(self, moment):
        setattr(self, moment, self.fail)

    def fail(self, *_):
        raise ValueError("broken")


class Validated(Classifier):
    def validation_step(self, batch, _):
        pass


@pytest.mark.parametrize("moment", ["on_validation_batch_start", "on_train_start", "on_train_batch_end"])
@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_a_fit_that_fails_before_an_epoch_leaves_the_run_folder_free(tmp_path, moment):
    train, test = digits()

    def fitted(module, *callbacks):
        trainer(tmp_path, [*callbacks], epochs=1).fit(module, loader(train), loader(test))

    module, folder, other = Validated(), tmp_path / "run", tmp_path / "other"
    start = {name: tensor.clone() for name, tensor in module.net.named_parameters()}
    first = callback(train, test, probes=["iiw"], folder=folder)
    with pytest.raises(ValueError, match="broken"):
        fitted(module, first, Fails(moment))
    assert Run.open(folder).info["status"] == "failed"
    fitted(module.train(), first)
    assert all(torch.equal(first.monitor.reference[name], tensor) for name, tensor in start.items())
    with pytest.raises(RunFolderError, match="already holds a run"):
        fitted(Validated(), callback(train, test, probes=[], folder=folder))
    with pytest.raises(ValueError, match="broken"):
        fitted(Validated(), callback(train, test, folder=other, config={"lr": 0.1}), Fails(moment))
    fitted(Validated(), callback(train, test, probes=[], folder=other, config={"lr": 0.2}, seed=4))
    run = Run.open(other)
    assert (run.config.seed, run.config.monitored.config, run.info["status"]) == (4, {"lr": 0.2}, "completed")
    assert set(run.records["epoch"]) == {1}


def test_a_fit_that_goes_on_has_the_length_of_all(tmp_path):
    train, test = digits()
    module = Classifier()
    watch = callback(train, test, probes=[], folder=tmp_path / "run")
    fit(module, train, tmp_path, [watch], epochs=1)
    fit(module, train, tmp_path, [watch], epochs=2)
    run = Run.open(tmp_path / "run")
    assert run.config.epochs == 3
    assert run.info["epochs_changed"] == [{"epoch": 1, "before": 1, "now": 3}]


class Indexed(Classifier):
    """Says which samples its logits are of."""

    def training_step(self, batch, _):
        x, y, index = batch
        logits = self(x)
        return {"loss": functional.cross_entropy(logits, y), "logits": logits.detach(), "index": index, "y": y}


def test_dynamics_of_samples_are_those_of_a_plain_loop(tmp_path):
    train, test = digits()
    watch = callback(train, test, folder=tmp_path / "run", attack=None, probes=[])
    x, y = as_floats(train).tensors
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y, torch.arange(len(y))), BATCH)
    trainer(tmp_path, [watch]).fit(Indexed(), batches)
    monitor = Monitor(net(), train, folder=tmp_path / "plain", probes=[])
    with_batches(monitor, train)
    assert watch.monitor.failed == {}
    assert same_dynamics(tmp_path / "run", tmp_path / "plain") == ["clean"]
