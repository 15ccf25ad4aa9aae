"""The callback in the Trainer of transformers: mixed precision, weights in half precision, batches of unequal size."""

import pandas as pd
import pytest
import torch
from torch.nn import functional
from trainers import BATCH, assert_same_weights, digits, net

from dense import dense_numbers, measured_numbers

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'overfit-lab[transformers]'"
)
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'overfit-lab[transformers]'")

from overfit_lab.monitor.integrations.transformers import OverfitCallback  # noqa: E402

TRAIN, TEST = digits()
N = 30


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
    """A network that is none of transformers, also one that casts inside as mixed precision does."""

    def __init__(self, inside=False):
        super().__init__()
        self.net, self.inside = net(), inside

    def forward(self, pixel_values, labels=None):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.inside):
            logits = self.net(pixel_values.to(self.net[1].weight.dtype))
        return {"loss": None if labels is None else functional.cross_entropy(logits.float(), labels), "logits": logits}


class Items(torch.utils.data.Dataset):
    def __init__(self, pair, n=None):
        self.x, self.y = pair[0][:n], pair[1][:n]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"pixel_values": self.x[i].float() / 255, "labels": int(self.y[i])}


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        items = Items(TRAIN)
        return iter([items[i] for i in range(100)])


def train(model, data, folder, callbacks, **options):
    settings = {"max_grad_norm": 0.0, "num_train_epochs": 2, **options}
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        save_strategy="no",
        per_device_train_batch_size=BATCH,
        learning_rate=0.05,
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
    transformers.Trainer(model=model, args=args, train_dataset=data, callbacks=callbacks).train()
    return model


def watcher(**options):
    probes = ["gradient-norm", "iiw", "calibration", "hessian"]
    given = {"probes": probes, "n": N, "options": {"hessian": {"n": 4, "max_probes": 2, "top_k": 0}}, **options}
    return OverfitCallback({"train": Items(TRAIN), "test": Items(TEST)}, **given)


def logits(model, x):
    output = model(pixel_values=x)
    return output["logits"] if isinstance(output, dict) else output.logits


def looked_at(watch, split):
    """Images and labels that probes see."""
    part = watch.monitor.data.splits[split]
    return part.x[part.order[:N]] / 255, part.y[part.order[:N]]


def half():
    return vit().bfloat16()


CASES = [(vit, {"bf16": True}), (half, {}), (Small, {"bf16": True})]


@pytest.mark.parametrize(("make", "options"), CASES, ids=["vit-bf16", "vit-in-bfloat16", "small-bf16"])
def test_every_precision_is_measured_to_its_digits_and_not_disturbed(tmp_path, make, options):
    data = Items(TRAIN)
    alone, watched = train(make(), data, tmp_path / "a", [], **options), make()
    watch = watcher()
    train(watched, data, tmp_path / "b", [watch], **options)
    assert_same_weights(alone, watched)
    assert not watch.monitor.failed
    reference = watch.monitor.reference
    expected = dense_numbers(watched, reference, *looked_at(watch, "train"), 200, logits)
    del expected["nll"]
    measured = measured_numbers(watch.records)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=2e-3)
    nll = dense_numbers(watched, reference, *looked_at(watch, "test"), 200, logits)["nll"]
    assert measured_numbers(watch.records, "test")["nll"] == pytest.approx(nll, rel=1e-4)


def test_autocast_inside_a_networks_own_forward_is_no_crash(tmp_path):
    watch = watcher()
    train(Small(inside=True), Items(TRAIN), tmp_path, [watch], num_train_epochs=1)
    assert not watch.monitor.failed
    assert {"full", "iiw", "nll", "trace"} <= set(watch.records["field"])


@pytest.mark.parametrize(
    ("data", "options", "n", "steps"),
    [
        (Items(TRAIN, 120), {}, 120, 3),
        (Items(TRAIN, 120), {"dataloader_drop_last": True}, 100, 2),
        (Items(TRAIN, 170), {"gradient_accumulation_steps": 3}, 170, 2),
        (Stream(), {"max_steps": 2}, None, 2),
    ],
)
def test_samples_of_a_step_are_those_of_its_batches(tmp_path, data, options, n, steps):
    watch = watcher(probes=[])
    train(Small(), data, tmp_path, [watch], **{"num_train_epochs": 1, **options})
    (row,) = watch.records[watch.records["field"] == "grad_norm_minibatch"].to_dict("records")
    assert (pd.isna(row["n"]) and n is None) or row["n"] == n
    assert row["step"] == steps
