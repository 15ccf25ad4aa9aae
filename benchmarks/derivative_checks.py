"""What it costs that rewritten networks are held against the plain one: a probe's derivatives before they are used."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from harness import Bar, Result, Row, seconds_of
from live_probes import made_up_images
from setting import Setting
from torch import nn

from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes.book import recipe
from overfit_lab.models.compute.verdicts import Verdicts
from overfit_lab.probes.base import run_probe
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.parts import make_probes
from overfit_lab.training.session import Session

PREACT = ["model.blocks=[2,2,2,2]", "model.stem_stride=1", "attack.n_steps=10", "evaluation.every=1000", "probes.n=32"]
RUNS: dict[str, tuple[str, list[str], int]] = {
    "MLP on digits": ("digits-hard", [], 8),
    "PreAct-ResNet-18 width 16, 32x32, n = 32": ("cifar10-small-hard", [*PREACT, "probes.options.hessian.n=32"], 3),
}
"""Title to recipe, what is set beyond it, and how often it is measured."""


class Checks:
    """Counts the trials and adds up the seconds of all questions; or answers by what is known, without a look."""

    def __init__(self) -> None:
        self.trials, self.seconds, self.within = 0, 0.0, False
        self.answers: dict[Hashable, Any] = {}

    @contextmanager
    def watched(self, *, off: bool = False) -> Iterator[None]:
        """Inside, every question about a way to a derivative goes through this, at first as if nothing were known.

        Args:
            off: a question that was asked here before is answered alike.
        """
        real, checks = Verdicts.of, self

        def of(self: Verdicts[Any], model: nn.Module, key: Hashable, trial: Callable[[], Any]) -> Any:
            place = (id(self), id(model), key)
            if place not in checks.answers:
                self._known.pop(model, None)
            elif off:
                return checks.answers[place]
            checks.answers[place] = checks.timed(lambda: real(self, model, key, lambda: checks.counted(trial)))
            return checks.answers[place]

        Verdicts.of = of  # type: ignore[method-assign]
        try:
            yield
        finally:
            Verdicts.of = real  # type: ignore[method-assign]

    def counted(self, trial: Callable[[], Any]) -> Any:
        """A trial."""
        self.trials += 1
        return trial()

    def timed(self, question: Callable[[], Any]) -> Any:
        """A question; one within another is part of it."""
        if self.within:
            return question()
        self.within, start = True, time.perf_counter()
        try:
            return question()
        finally:
            self.within, self.seconds = False, self.seconds + time.perf_counter() - start


def session_of(name: str, overrides: list[str], setting: Setting) -> Session:
    """A session of a recipe after an epoch, on digits or on made-up images."""
    config = apply_overrides(recipe(name), overrides)
    with nullcontext() if name.startswith("digits") else made_up_images(*setting.size((256, 128), (128, 64))):
        session = build(config, torch.device("cpu"))
    train_epoch(session, EventBus())
    return session


def checks_in_training(session: Session) -> int:
    """Trials in an epoch after the first."""
    checks = Checks()
    with checks.watched():
        train_epoch(session, EventBus())
    return checks.trials


def probing(session: Session, n_times: int) -> dict[str, float]:
    """Seconds of probing with the checks and without, in turns, and of the checks among those with them."""
    snapshot, probes = session.snapshot(), make_probes(session.config.probes)

    def measure() -> None:
        for probe in probes:
            run_probe(probe, snapshot)

    on, off = Checks(), Checks()
    with off.watched():
        measure()
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    first = 0.0
    for turn in range(n_times):
        for way in ("on", "off") if turn % 2 else ("off", "on"):
            with on.watched() if way == "on" else off.watched(off=True):
                seconds[way].append(seconds_of(measure))
        first = first or on.seconds
    total = n_times * statistics.median(seconds["off"])
    return {
        "seconds a measurement": total / n_times,
        "with checks, times": statistics.median(seconds["on"]) / statistics.median(seconds["off"]),
        "checks, first time": first / total * n_times,
        "checks, all times": on.seconds / total,
        "trials": on.trials,
    }


def measure(setting: Setting) -> Result:
    """Shares of the time of all probes of a recipe, on one model, without the attack on their images."""
    warnings.filterwarnings("ignore")
    rows, bars = [], []
    for title, (name, overrides, most) in RUNS.items():
        session = session_of(name, overrides, setting)
        n_times = setting.size(most, 2)
        in_training = checks_in_training(session)
        figures = probing(session, n_times)
        rows.append(Row(f"{title}, {n_times} times", figures | {"trials in an epoch of training": in_training}))
        bars.append(Bar(f"{title}: checks' share of probing", figures["checks, all times"], 0.02, more_is_better=False))
        bars.append(Bar(f"{title}: trials in an epoch of training", in_training, 0, more_is_better=False))
    return Result("Checks of derivatives beside probing", rows, bars)
