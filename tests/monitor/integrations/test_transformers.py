"""The callback in a real Trainer of transformers, on a model drawn from a configuration."""

import pytest
import torch
from trainers import BATCH, EPOCHS, PROBES, assert_same_records, assert_same_weights, digits, net, plain

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'overfit-lab[transformers]'"
)
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'overfit-lab[transformers]'")

from overfit_lab.errors import ProbeError  # noqa: E402
from overfit_lab.methods.attacks.pgd import PGD  # noqa: E402
from overfit_lab.methods.threat import ThreatModel  # noqa: E402
from overfit_lab.models.adapt import Adapter  # noqa: E402
from overfit_lab.monitor.integrations.transformers import STATE_FILE, OverfitCallback  # noqa: E402
from overfit_lab.monitor.monitor import Monitor  # noqa: E402
from overfit_lab.monitor.steps import CLIPPED  # noqa: E402
from overfit_lab.records.reader import Run  # noqa: E402

ATTACK = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)


def vit():
    """A vision transformer of some 3,000 parameters; its attention is PyTorch's fused one."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=10,
        hidden_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.ViTForImageClassification(config)


class Small(torch.nn.Module):
    """A stranger's network under the Trainer: no network of transformers, and a plain dictionary comes back.

    The resume test takes it since transformers 5.23 does not load a checkpoint of its own ViT back under the Trainer.
    """

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, pixel_values, labels=None):
        logits = self.net(pixel_values)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Items(torch.utils.data.Dataset):
    def __init__(self, pair):
        self.x, self.y = pair

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"pixel_values": self.x[i].float() / 255, "labels": int(self.y[i])}


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(model, pair, folder, callbacks, epochs=EPOCHS, resume=None, **options):
    settings = {"max_grad_norm": 0.0, "save_strategy": "no", **options}
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        optim="sgd",
        **settings,
    )
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
