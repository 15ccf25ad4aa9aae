"""What the live probes of the recipe `cifar10-small-hard` cost beside its training with PGD-10."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from harness import Bar, Result, Row
from setting import Setting, images

from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes.book import recipe
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.probes.base import run_probe
from overfit_lab.training import build as building
from overfit_lab.training.build import build
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.parts import make_probes
from overfit_lab.training.session import Session
from overfit_lab.types import Dataset, Value


@contextmanager
def made_up_images(n_train: int, n_test: int) -> Iterator[None]:
    """Inside, a session is built on made-up images of CIFAR-10's size; which images they are changes no time."""

    def load(*_: object) -> Dataset:
        parts = [((255 * x).to(torch.uint8), y) for x, y in (images(n_train, 1), images(n_test, 2))]
        return dataset_from_arrays(parts[0], test=parts[1])

    real, building.load_dataset = building.load_dataset, load
    try:
        yield
    finally:
        building.load_dataset = real


def without_evaluation(session: Session) -> float:
    """Seconds of one epoch's updates."""
    found: list[Value] = []
    bus = EventBus()
    bus.on(EpochEnded, lambda event: found.extend(event.values))
    train_epoch(session, bus)
    return next(value.value for value in found if value.field == "seconds_training")


def measure(setting: Setting) -> Result:
    """Seconds of each probe at one epoch, over those of training since the last one."""
    warnings.filterwarnings("ignore")
    config = apply_overrides(recipe("cifar10-small-hard"), ["attack.n_steps=10", "evaluation.every=1000"])
    if setting.quick:
        config = apply_overrides(config, ["probes.n=8", "probes.options.hessian.n=8", "evaluation.n_train=16"])
    with made_up_images(*setting.size((2000, 1000), (256, 64))):  # type: ignore[call-overload]
        session = build(config, torch.device("cpu"))
    epochs = [without_evaluation(session) for _ in range(setting.size(2, 1))]
    training = config.probes.every * sum(epochs) / len(epochs)
    started = time.perf_counter()
    snapshot = session.snapshot()
    evaluate(snapshot, config.evaluation)
    rows = [Row("evaluation, which makes the images", {"seconds": time.perf_counter() - started})]
    times = -(-config.epochs // config.probes.every)
    first, later = 0.0, 0.0
    for probe in make_probes(config.probes):
        _, once = run_probe(probe, snapshot)
        again = statistics.median(run_probe(probe, snapshot)[1] for _ in range(setting.size(3, 1)))
        first, later = first + once, later + again
        rows.append(Row(probe.name, {"seconds": again, "seconds the first time": once}))
    rows.append(Row("all probes", {"seconds": later, "seconds the first time": first}))
    rows.append(Row(f"training of {config.probes.every} epochs", {"seconds": training}))
    total = (first + (times - 1) * later) / times
    for row in rows:
        row.figures["share of training"] = row.figures["seconds"] / training
    bars = [Bar("probes' share of the training of the whole run", total / training, 0.1, more_is_better=False)]
    return Result("Live probes of cifar10-small-hard beside training with PGD-10", rows, bars)
