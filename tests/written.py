"""Run folders that are written step by step, as a run that is being trained does."""

import numpy as np

from overfit_lab.config import parse_config, to_yaml
from overfit_lab.records.recorder import to_records
from overfit_lab.records.writer import RunWriter
from overfit_lab.types import Clock, Value

N, DECAY = 60, 20


def begin(folder, *, name="made", epochs=N, decays=(DECAY,), status="running", started="10:00", known=()):
    """A run folder with no record yet, held by the writer that comes back."""
    config = parse_config({"name": name, "epochs": epochs, "data": {"name": "digits"}, "monitored": {"known": known}})
    info = {"name": name, "status": status, "started": started, "decay_epochs": list(decays)}
    return RunWriter.create(folder, to_yaml(config), info)


def accuracies(epoch, overfits):
    """Robust train and test accuracy; test falls by 20 points after epoch 25 where the run overfits."""
    noise = 0.004 * np.sin(7.3 * epoch)
    late = epoch > DECAY
    test = 0.4 + 0.05 * late + noise - (max(0, epoch - 25) * 0.2 / 35 if overfits else 0)
    return 0.45 + 0.08 * late + max(0, epoch - DECAY) * (0.006 if overfits else 0), test


def records_of(epoch, *, overfits=True, seconds=2.0, step=None):
    """What one epoch records."""
    train, test = accuracies(epoch, overfits)
    adv = {"inputs": "adversarial", "labels": "given"}
    evaluation = [
        Value("acc_adv", train, "train", n=500, **adv),
        Value("acc_adv", test, "test", n=800, **adv),
        Value("acc_clean", 0.8, "test", "clean", "given", 800),
    ]
    training = [
        Value("lr", 0.1 if epoch <= DECAY else 0.01),
        Value("seconds_training", seconds),
        Value("seconds_evaluation", seconds / 2),
    ]
    norm = [Value("full", 1 + epoch / 10, "train", "adversarial", n=500)]
    clock = Clock(epoch, step if step is not None else 10 * epoch, N)
    return [
        *to_records("training", training, clock, None),
        *to_records("evaluation", evaluation, clock, None),
        *to_records("gradient-norm", norm, clock, 0.1),
    ]


def write(writer, first, last, **how):
    """The records of some epochs."""
    for epoch in range(first, last + 1):
        writer.append(records_of(epoch, **how))
