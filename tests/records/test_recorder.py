"""A recorder's writers all get the same."""

import numpy as np

from overfit_lab.records.recorder import MemoryWriter, Recorder
from overfit_lab.types import Clock, Measurement, Value


def test_every_writer_gets_every_record_and_array():
    first, second = MemoryWriter(), MemoryWriter()
    recorder = Recorder(first, second)
    recorder.training([Value("acc_clean", 0.5, "test"), Value("loss", 1.0, "train")], Clock(1, 4, 3))
    for epoch in (1, 2):
        arrays = {"map": np.full(2, epoch)}
        recorder.measurement("features", Measurement([Value("rank", 3.0)], arrays), Clock(epoch, 4 * epoch, 3), 0.1)
    assert [(r.probe, r.field) for r in first.records] == [
        ("training", "loss"),
        ("evaluation", "acc_clean"),
        ("features", "rank"),
        ("features", "rank"),
    ]
    assert second.records == first.records
    assert first.arrays["features"][0] == 2  # the latest alone
    assert first.arrays["features"][1]["map"].tolist() == [2, 2]
