"""Sinks for tests, also under ``kept_sinks:Name``."""

import random

import numpy as np
import torch

from overfit_lab.records.sinks.base import Sink


class Kept(Sink):
    """Keeps what it is given."""

    def __init__(self):
        self.begun, self.given, self.ended = [], [], []

    def begin(self, run):
        self.begun.append(run)

    def records(self, records):
        self.given.append(tuple(records))

    def end(self, status):
        self.ended.append(status)

    @property
    def flat(self):
        return [record for group in self.given for record in group]


class Broken(Kept):
    """Raises in the place that it is told to, from the second epoch on."""

    def __init__(self, where="records", error=None):
        super().__init__()
        self.where, self.error, self.asked = where, error or OSError("No space left on device"), 0

    def _raise(self, where):
        if where == self.where:
            self.asked += 1
            raise self.error

    def begin(self, run):
        super().begin(run)
        self._raise("begin")

    def records(self, records):
        if self.given:
            self._raise("records")
        super().records(records)

    def end(self, status):
        super().end(status)
        self._raise("end")


class Meddling(Sink):
    """Draws from, and seeds, every global stream, and empties the configuration that it is shown."""

    def begin(self, run):
        run.config.clear()
        self.records(())

    def records(self, records):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        torch.rand(3)


class NoSink:
    """Has the methods, but says nothing of being a sink."""

    def begin(self, run):
        pass

    def records(self, records):
        pass
