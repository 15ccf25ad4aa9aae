"""Runs that exist in memory alone, with curves whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd

from overfit_lab.config import parse_config
from overfit_lab.records.reader import Run
from overfit_lab.records.records import FIELDS, TRAINING

N_TEST = 1000


def ar_noise(stream, n, correlation, size):
    """Autoregressive normal noise (n,)."""
    values = stream.normal(size=n)
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + np.sqrt(1 - correlation**2) * values[i]
    return size * values


def rows(name, epochs, values, probe, field, split, inputs, n=N_TEST, stderr=None):
    """Records of one number over epochs; ``n`` may be an array."""
    frame = pd.DataFrame({"epoch": np.asarray(epochs, dtype=int), "value": np.asarray(values, dtype=float), "n": n})
    frame["step"], frame["stderr"], frame["seconds"], frame["origin"] = frame["epoch"] * 10, stderr, 0.0, TRAINING
    frame["probe"], frame["field"], frame["split"], frame["inputs"], frame["labels"] = probe, field, split, inputs, ""
    frame["via"] = ""
    return frame[list(FIELDS)]


def make(name="run-seed0", *parts, seed=0, info=None, **changes):
    """A run of some records, with the default configuration but for changes."""
    config = parse_config({"name": name, "seed": seed, "epochs": 100, "data": {"name": "digits"}, **changes})
    run = object.__new__(Run)
    run.folder = Path("nowhere") / name
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(FIELDS))
    for column in ("value", "stderr"):
        frame[column] = frame[column].astype(float)
    run.__dict__.update(config=config, _rows=frame)
    run.__dict__["info"] = {"status": "completed", "data": {"sizes": {"train": 500}, "n_classes": 10}, **(info or {})}
    return run


def accuracies(kind, n, stream, *, correlation=0.3, size=0.008, fall=0.10, shape="line"):
    """Epochs, train and test accuracy, first decay and onset.

    Accuracy jumps at the decay at half of the run and peaks a tenth later. Kinds: ``level`` (neither gap nor fall),
    ``gap`` (train accuracy alone goes on), ``overfits``.
    """
    epochs = np.arange(1, n + 1)
    decay, onset = n // 2, n // 2 + max(2, n // 10)
    late = np.maximum(epochs - onset, 0) / (n - onset)
    late = {"line": late, "slow": late**2, "fast": 1 - np.exp(-4 * late)}[shape]
    test = 0.5 * (1 - np.exp(-epochs / (0.06 * n))) + 0.06 * np.clip((epochs - decay) / (onset - decay), 0, 1)
    train = test + 0.03 + 0.25 * late * (kind != "level")
    test = test - fall * late * (kind == "overfits")
    sizes = np.where(epochs <= decay, 2 * size, size)
    return (
        epochs,
        train + ar_noise(stream, n, correlation, sizes),
        test + ar_noise(stream, n, correlation, sizes),
        decay,
        onset,
    )


def evaluated(kind, n, seed, *, name=None, extra=(), objective="pgd-at", **options):
    """A run with accuracies of a kind, and more records; ``extra`` are made with the run's name, decay and onset."""
    changes = {
        key: options.pop(key) for key in ("labels", "regularizers", "data", "info", "monitored") if key in options
    }
    stream = np.random.default_rng(seed)
    epochs, train, test, decay, onset = accuracies(kind, n, stream, **options)
    name = name or f"synthetic-seed{seed}"
    inputs, field = ("clean", "acc_clean") if objective == "standard" else ("adversarial", "acc_adv")
    lr = np.where(epochs <= decay, 0.1, 0.01)
    parts = [
        rows(name, epochs, train, "evaluation", field, "train", inputs),
        rows(name, epochs, test, "evaluation", field, "test", inputs),
        rows(name, epochs, lr, "training", "lr", "", ""),
        *(part(name, decay, onset, stream) for part in extra),
    ]
    return make(name, *parts, seed=seed, objective={"name": objective}, **changes)


def readings(factor, source, *, count=20, n=100, size=0.15, correlation=0.3, level=1.0, additive=False):
    """Records of a number that is ``factor`` times its level at the end (plus ``factor`` where additive)."""

    def part(name, decay, onset, stream):
        epochs = np.linspace(n / count, n, count).astype(int)
        late = np.clip((epochs - onset) / (n - onset) * 1.5, 0, 1)
        noise = ar_noise(stream, count, correlation, size)
        values = level + factor * late + noise if additive else level * np.exp(np.log(factor) * late + noise)
        return rows(name, epochs, values, *source)

    return part
