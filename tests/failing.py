"""Probes that fail at some epochs, named in configurations as ``failing:Late`` and so on."""

from overfit_lab.probes.base import Field, Probe
from overfit_lab.types import Measurement


class Late(Probe):
    """Measures nothing but the epoch, and fails from the second one on."""

    name = "late"
    fields = (Field("epoch", "the epoch"),)
    default_inputs = ("clean",)

    def measure(self, snapshot, *, generator):
        if snapshot.clock.epoch >= 2:
            raise RuntimeError(f"no more than one epoch\nand details ({snapshot.weights})")
        (view, *_) = self.views(snapshot)
        return Measurement([view.value("epoch", snapshot.clock.epoch)])


class Never(Late):
    """Cannot be measured at all."""

    name = "never"

    def measure(self, snapshot, *, generator):
        raise IndexError("index 7 is out of range")
