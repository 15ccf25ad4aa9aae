"""What per-sample training dynamics add to a training step: with records on the disk, of 50,000 samples."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from harness import Bar, Result, Row, seconds_of, take_turns
from setting import Setting, images, network
from training_step import Trainer, our_attack

from overfit_lab.processes.share import Share
from overfit_lab.records.dynamics_writer import DynamicsWriter
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.types import Batch, Outputs

MOST = 0.01
CLASSES = 10


def epoch_of(folder: Path, n: int, batch: int) -> tuple[float, float]:
    """Seconds that all steps of an epoch spend on the dynamics of n samples, and seconds at its end."""
    y, order, logits = torch.arange(n) % CLASSES, torch.randperm(n), torch.randn(batch, CLASSES)
    parts = [(Batch(index, y[index], index), Share(len(index))) for index in order.split(batch)]
    dynamics = Dynamics(n, y.device)
    write = DynamicsWriter(folder, "full").write

    def steps() -> None:
        for part, share in parts:
            dynamics.take_step(part, Outputs(adv=logits[: share.n]), share)

    steps()
    dynamics.end_epoch(1, write)
    return seconds_of(steps), seconds_of(lambda: dynamics.end_epoch(2, write))


def measure(setting: Setting) -> Result:
    """Seconds a step beside those of a PGD-10 step of the narrow network, the end of the epoch included."""
    batch, n, width = setting.size(128, 8), setting.size(50_000, 500), 16
    trainer = Trainer(network(width, steps=1), our_attack(fold=True))
    x, y = images(batch)
    step = take_turns({"step": lambda: trainer.step(x, y)}, setting.size(5, 1))["step"]
    with tempfile.TemporaryDirectory() as folder:
        rounds = [epoch_of(Path(folder) / str(i), n, batch) for i in range(setting.size(5, 1))]
    n_steps = -(-n // batch)
    steps, end = (sorted(times)[len(times) // 2] for times in zip(*rounds, strict=True))
    added = (steps + end) / n_steps
    rows = [
        Row(f"PGD-10 step, PreAct-ResNet-18 width {width}, batch {batch}", {"seconds a step": step}),
        Row(
            f"dynamics of {n:,} samples, one view",
            {"seconds a step": added, "share of a step": added / step, "seconds an epoch": steps + end},
        ),
    ]
    title = f"Per-sample dynamics, {n:,} samples, {CLASSES} classes, on the disk at each epoch's end"
    return Result(title, rows, [Bar("dynamics as a share of a step", added / step, MOST, more_is_better=False)])
