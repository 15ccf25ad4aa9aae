"""The callback in a real Trainer of transformers, on a model drawn from a configuration."""

import pytest
import torch
from hugging_face import Items, Small, arguments, transformers, vit
from trainers import (
    BATCH,
    EPOCHS,
    PROBES,
    assert_same_records,
    assert_same_weights,
    digits,
    net,
    plain,
    same_dynamics,
    with_batches,
)

from overfit_lab.errors import ProbeError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.adapt import Adapter
from overfit_lab.monitor.integrations.transformers import STATE_FILE, OverfitCallback
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.monitor.steps import CLIPPED
from overfit_lab.records.reader import Run

ATTACK = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(model, pair, folder, callbacks, epochs=EPOCHS, resume=None, **options):
    args = arguments(folder, num_train_epochs=epochs, learning_rate=0.1, **options)
    made = InOrder(model=model, args=args, train_dataset=Items(pair), callbacks=callbacks)
    made.train(resume_from_checkpoint=resume)
    return made


def callback(pair, test, **options):
    given = {"probes": PROBES, "attack": ATTACK, "n": 60, **options}
    return OverfitCallback({"train": Items(pair), "test": Items(test)}, **given)


def test_records_are_those_of_a_plain_loop_and_nothing_changes(tmp_path):
    pair, test = digits()
    alone, watched = vit(), vit()
    train(alone, pair, tmp_path / "a", [])
    watch = callback(pair, test, folder=tmp_path / "run")
    train(watched, pair, tmp_path / "b", [watch])
    assert_same_weights(alone, watched)
    assert not watched._forward_hooks
    assert not watched._forward_pre_hooks
    model = vit()
    adapter = Adapter(keyword="pixel_values", output="logits")
    options = {"probes": PROBES, "attack": ATTACK, "n": 60, "batch_size": BATCH, "n_epochs": EPOCHS}
    monitor = Monitor(model, pair, test, adapter=adapter, **options)
    plain(model, pair, monitor, logits=lambda model, x: model(x).logits)
    assert_same_records(watch.records, monitor.records, but=["loss"], tolerance=1e-4)
    assert Run.open(tmp_path / "run").info["status"] == "completed"


def test_clipped_gradients_are_named_so_and_accumulated_ones_read_whole(tmp_path):
    pair, test = digits()
    readings = {}
    for clip in (0.0, 0.05):
        watch = callback(pair, test, probes=[])
        train(vit(), pair, tmp_path, [watch], epochs=1, max_grad_norm=clip, gradient_accumulation_steps=4)
        records = watch.records
        rows = records[(records["probe"] == "training") & records["field"].str.startswith("grad_norm")]
        assert len(rows) == 1
        assert ("iiw_pib_minibatch" in set(records["field"])) is (clip == 0.0)
        assert rows["n"].item() == len(pair[1])
        readings[rows["field"].item()] = rows["value"].item()
    assert readings[CLIPPED] == pytest.approx(0.05, rel=1e-3)
    model = vit()
    model(pixel_values=pair[0].float() / 255, labels=pair[1]).loss.backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
    assert readings["grad_norm_minibatch"] == pytest.approx(whole, rel=1e-4)


class Stop(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 10:
            raise KeyboardInterrupt


@pytest.mark.parametrize("folder", [True, False])
def test_resumed_training_measures_from_the_same_theta_0(tmp_path, folder):
    pair, test = digits()
    whole = callback(pair, test)
    train(Small(), pair, tmp_path / "whole", [whole], epochs=4)
    out = tmp_path / "run" if folder else None
    first = callback(pair, test, folder=out)
    with pytest.raises(KeyboardInterrupt):
        train(Small(), pair, tmp_path / "parts", [first, Stop()], epochs=4, save_strategy="epoch")
    first.monitor.close("interrupted")
    checkpoint = tmp_path / "parts" / "checkpoint-8"
    assert (checkpoint / STATE_FILE).is_file()
    second = callback(pair, test, folder=out)
    train(Small(), pair, tmp_path / "parts", [second], epochs=4, resume=str(checkpoint))
    assert_same_records(second.records, whole.records, tolerance=0)
    (checkpoint / STATE_FILE).unlink()
    with pytest.raises(ProbeError, match="theta_0 is not there"):
        train(Small(), pair, tmp_path / "parts", [callback(pair, test)], epochs=4, resume=str(checkpoint))
    (checkpoint / STATE_FILE).write_bytes(b"nonsense")
    with pytest.raises(ProbeError, match="damaged"):
        train(Small(), pair, tmp_path / "parts", [callback(pair, test)], epochs=4, resume=str(checkpoint))


def test_training_on_keeps_theta_0_also_after_a_crash(tmp_path, capsys):
    pair, test = digits()
    model, folder = Small(), tmp_path / "run"
    theta_0 = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    watch = callback(pair, test, probes=["iiw"], folder=folder)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        train(model, pair, tmp_path, [watch, stop], epochs=4)  # in the third epoch
    made = train(model, pair, tmp_path, [watch], epochs=1)
    assert "fitting on after epoch 2: theta_0 is still that of the first fit" in capsys.readouterr().err
    made.train()
    assert all(torch.equal(watch.monitor.reference[name], tensor) for name, tensor in theta_0.items())
    run = Run.open(folder)
    assert sorted(run.records["epoch"].unique()) == [1, 2, 3, 4]
    assert (run.config.epochs, run.info["status"]) == (4, "completed")


class Crash(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        raise ValueError("broken")


def test_a_training_that_fails_before_an_epoch_leaves_the_run_folder_free(tmp_path):
    pair, test = digits()
    watches = [callback(pair, test, probes=[], folder=tmp_path / "run", seed=seed) for seed in (1, 2)]
    with pytest.raises(ValueError, match="broken"):
        train(Small(), pair, tmp_path, [watches[0], Crash()])
    train(Small(), pair, tmp_path, [watches[1]], epochs=1)
    assert Run.open(tmp_path / "run").config.seed == 2


class Numbered(Items):
    """Samples that say their position."""

    def __getitem__(self, i):
        return {**super().__getitem__(i), "index": i}


class Showing(InOrder):
    """Shows the callback its logits."""

    watch = None

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        index = inputs.pop("index")
        outputs = model(**inputs)
        self.watch.batch(index, outputs["logits"], inputs["labels"])
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


def test_dynamics_of_samples_are_those_of_a_plain_loop_and_resume(tmp_path):
    pair, _ = digits()
    folders = [tmp_path / name for name in ("whole", "parts", "parts")]
    for folder, epochs, resumes in zip(folders, (2, 1, 2), (False, False, True), strict=True):
        watch = OverfitCallback({"train": pair}, folder=folder, probes=[])
        args = arguments(
            tmp_path / f"{folder.name}-out", num_train_epochs=epochs, learning_rate=0.1, save_strategy="epoch"
        )
        made = Showing(model=Small(), args=args, train_dataset=Numbered(pair), callbacks=[watch])
        made.watch = watch
        made.train(resume_from_checkpoint=resumes or None)
        assert watch.monitor.failed == {}
    monitor = Monitor(net(), pair, folder=tmp_path / "plain", probes=[])
    with_batches(monitor, pair)
    assert same_dynamics(tmp_path / "whole", tmp_path / "plain") == ["clean"]
    for path in (tmp_path / "whole" / "dynamics").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "dynamics" / path.name).read_bytes()
