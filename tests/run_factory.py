"""Synthetic run folders with known numbers, for figures and tables."""

import numpy as np

from overfit_lab.config import parse_config, to_yaml
from overfit_lab.records.reader import Run
from overfit_lab.records.recorder import to_records
from overfit_lab.records.writer import RunWriter
from overfit_lab.types import Clock, Value

EPOCHS = 20
PEAKS = {"hard": 0.10, "smooth": 0.05, "sglr": 0.01}
"""How far robust test accuracy falls after epoch 12."""


def robust_test(labels, seed, epoch):
    """Rises to 0.5 (and a hundredth a seed) at epoch 12, then falls linearly."""
    top = 0.5 + 0.01 * seed
    if epoch <= 12:
        return top * epoch / 12
    return top - PEAKS[labels] * (epoch - 12) / (EPOCHS - 12)


def epoch_values(labels, seed, epoch, standard):
    falls = robust_test(labels, seed, epoch)
    accuracies = {("train", "clean"): 0.4 + epoch / 50, ("test", "clean"): 0.4 + epoch / 60}
    if not standard:
        accuracies |= {("train", "adversarial"): epoch / 25, ("test", "adversarial"): falls}
    values = []
    for (split, inputs), accuracy in accuracies.items():
        suffix = "adv" if inputs == "adversarial" else "clean"
        values += [
            Value(f"acc_{suffix}", accuracy, split, inputs, "given", 100, 0.01),
            Value(f"loss_{suffix}", 2 - accuracy, split, inputs, "given", 100, 0.01),
        ]
    return values


def probe_values(seed, epoch):
    adv = {"split": "train", "inputs": "adversarial"}
    found = {
        "gradient-norm": [Value("full", 1 + 0.05 * epoch + seed, **adv), Value("minibatch", 2.0, **adv)],
        "iiw": [Value("iiw", 100.0 * epoch + seed, **adv), Value("distance", 3.0, **adv)],
        "hessian": [Value("trace", 10.0 + epoch, **adv), Value("top_eigenvalue", 2.0, **adv)],
        "features": [Value("silhouette", 0.3, "test", "clean"), Value("knn_acc", 0.9, "test", "clean")],
        "memorisation": [
            Value("share_untouched", 0.62, "train", "clean"),
            Value("acc_given/corrupted", epoch / 40, "train", "clean"),
        ],
        "logit-geometry": [
            Value(name, value, "test", "clean", "given", 60)
            for name, value in (
                ("logit_gap", 1 + epoch / 20 + seed),
                ("gradient_gap", 8 + epoch / 10),
                ("predicted", 0.15 + epoch / 1000),
                ("measured", 0.12 - epoch / 1000 + seed / 100),
            )
        ],
        "calibration": [],
        "confidence": [],
    }
    for inputs, shift in (("clean", 0.0), ("adversarial", 0.1)):
        found["calibration"].append(Value("ece", 0.1 + shift + epoch / 200, "test", inputs))
        found["confidence"] += [
            Value("conf_correct", 0.5 + epoch / 50 - shift, "test", inputs),
            Value("conf_wrong", 0.3 + epoch / 80 + shift, "test", inputs),
        ]
    return found


def probe_arrays(seed):
    rng = np.random.default_rng(seed)
    y = np.arange(60) % 10
    points = rng.normal(size=(60, 2)).astype(np.float32) + 5 * np.stack([y % 4, y // 4], 1)
    bins = np.stack([np.linspace(0.03, 0.97, 15), np.linspace(0.0, 0.8, 15), np.full(15, 4.0)], 1)
    return {
        "features": {"tsne-test-clean": points.astype(np.float32), "label-test-clean": y},
        "calibration": {"reliability-test-clean": bins, "reliability-test-adversarial": bins},
        "logit-geometry": {"geometry-test-clean": geometry(rng)},
        "confidence": {
            f"label-prob-test-{inputs}": np.clip((np.arange(60) + 0.5) / 60 - 0.1 * seed - shift, 0, 1)
            for inputs, shift in (("clean", 0.0), ("adversarial", 0.2))
        },
        "masking": {
            "curve-more-steps": np.array([[1, 0.8, 0.7, 0.9, 200], [100, 0.5, 0.4, 0.6, 200]]),
            "curve-larger-eps": np.array([[0, 0.9, 0.85, 0.95, 200], [1, 0.0, 0.0, 0.02, 200]]),
            "evidence-square": np.array([0.005 * seed, 0.0, 0.03, 0.02, 200]),
            "evidence-more-steps": np.array([0.1, 0.06, 0.15, 0.01, 200]),
        },
    }


def geometry(rng, n=60):
    """Gap, gradient gap, cosine, predicted and measured perturbation a sample; the first is wrong, the second safe."""
    predicted, measured = np.abs(rng.normal(size=(2, n))) / 10 + 0.01
    predicted[0], measured[0], predicted[1] = 0.0, 0.0, np.inf
    return np.stack([rng.normal(size=n), np.full(n, 8.0), np.zeros(n), predicted, measured], 1)


def make_run(
    folder,
    labels="hard",
    seed=0,
    *,
    objective="pgd-at",
    rate=0.3,
    kind="symmetric",
    probes=True,
    val=False,
    epochs=EPOCHS,
    measured=range(2, EPOCHS + 1, 2),
    **changes,
):
    """A run folder of 20 epochs with decays after epochs 10 and 15; returns the run. `changes` go to the config.

    The probes have readings at the epochs ``measured``.
    """
    noise = {"kind": kind, "rate": rate} if rate else {}
    config = parse_config(
        {
            "name": f"synthetic-{labels}",
            "seed": seed,
            "epochs": epochs,
            "data": {"name": "digits", "noise": noise},
            "labels": {"name": labels},
            "objective": {"name": objective},
            **changes,
        }
    )
    sizes = {"train": 500, "test": 797}
    info = {"status": "completed", "data": {"sizes": sizes, "n_resampled": 190}}
    with RunWriter.create(folder, to_yaml(config), info) as writer:
        for epoch in range(1, epochs + 1):
            clock = Clock(epoch, 10 * epoch, epochs)
            lr = 0.1 if epoch <= 10 else 0.01 if epoch <= 15 else 0.001
            training = [Value("lr", lr), Value("loss", 2 / epoch, "train"), Value("grad_norm_minibatch", 1.0, "train")]
            writer.append(to_records("training", training, clock, None))
            evaluation = epoch_values(labels, seed, epoch, objective == "standard")
            if val:
                evaluation.append(Value("acc_adv", 0.4 - abs(epoch - 7) / 50, "val", "adversarial", "given", 50))
            writer.append(to_records("evaluation", evaluation, clock, None))
            if probes and epoch in measured:
                for name, values in probe_values(seed, epoch).items():
                    writer.append(to_records(name, values, clock, 0.1))
        if probes:
            for name, arrays in probe_arrays(seed).items():
                writer.save_arrays(name, epochs, arrays)
    return Run.open(folder)
