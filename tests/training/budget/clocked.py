"""Probes and an attack that take seconds of a clock of their own, so that no test waits or is timed."""

import torch

from overfit_lab.methods.attacks.base import Attack
from overfit_lab.probes.base import Field, Probe
from overfit_lab.types import Measurement


class Clock:
    now = 0.0


def tick(seconds):
    Clock.now += seconds


def read():
    return Clock.now


class Cheap(Probe):
    """0.1 s and 1 ms a sample of every view."""

    name = "cheap"
    fields = (Field("mean", "mean of the labelled logit"),)
    fixed, per_sample = 0.1, 0.001

    def measure(self, snapshot, *, generator):
        values = []
        tick(self.fixed)
        for view in self.views(snapshot):
            tick(self.per_sample * len(view))
            values.append(view.value("mean", view.logits.mean().item()))
        return Measurement(values)


class Dear(Cheap):
    """0.5 s and 10 ms a sample of the training split."""

    name = "dear"
    default_splits = ("train",)
    fixed, per_sample = 0.5, 0.01


class Slow(Attack):
    """Noise that takes 20 ms an image."""

    def __init__(self, threat):
        self.threat = threat

    def __call__(self, model, x, loss, *, generator, start=None):
        tick(0.02 * len(x))
        return (x + 0.1 * torch.rand(x.shape, generator=generator)).clamp(0, 1)


REGISTER = {}
