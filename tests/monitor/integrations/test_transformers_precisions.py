"""The callback in the Trainer of transformers: mixed precision, weights in half precision, batches of unequal size."""

import pandas as pd
import pytest
import torch
from hugging_face import Items, Small, arguments, transformers, vit
from trainers import assert_same_weights, digits

from dense import dense_numbers, measured_numbers
from overfit_lab.monitor.integrations.transformers import OverfitCallback

TRAIN, TEST = digits()
N = 30


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        items = Items(TRAIN)
        return iter([items[i] for i in range(100)])


def train(model, data, folder, callbacks, **options):
    args = arguments(folder, learning_rate=0.05, **{"num_train_epochs": 2, **options})
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
