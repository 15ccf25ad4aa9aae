"""Where label memory lies: on the device or in a file, and what it takes there."""

import os

import pytest
import torch

from grown_memory import grown_memory, needs_proc
from overfit_lab.errors import ConfigError
from overfit_lab.methods.labels.base import LabelContext, one_hot
from overfit_lab.methods.labels.rows import on_disk
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.run import train_run
from tiny import tiny_config

Y = torch.arange(50) % 3
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("place", "limit", "mapped"),
    [("auto", 600, False), ("auto", 599, True), ("device", 1, False), ("disk", 10**9, True)],
)
def test_rows_lie_on_disk_beyond_the_limit(place, limit, mapped):
    rows = LabelContext(Y, 3, 1, place=place, limit=limit).one_hot_rows()
    assert rows.mapped == mapped
    assert torch.equal(rows.tensor, one_hot(Y, 3))


def test_a_file_is_filled_piece_by_piece_and_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("overfit_lab.methods.labels.rows.PIECE", 3 * 4 * 7)
    asked = []

    def initial(part):
        asked.append((part.start, part.stop))
        return one_hot(Y[part], 3)

    rows = on_disk(50, 3, initial, CPU)
    assert asked == [(i, min(i + 7, 50)) for i in range(0, 50, 7)]
    assert torch.equal(rows.tensor, one_hot(Y, 3))
    assert os.listdir(tmp_path) == []
    rows[torch.tensor([4, 2])] = torch.full((2, 3), 1 / 3)
    assert torch.equal(rows[torch.tensor([2, 3])], torch.stack([torch.full((3,), 1 / 3), one_hot(Y, 3)[3]]))


def test_a_disk_without_room_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no 4000000\.00 GB in .*; point TMPDIR") as caught:
        on_disk(10**6, 10**9, lambda part: torch.zeros(1), CPU)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_run_with_memory_on_disk_equals_one_with_it_on_the_device_also_resumed(tmp_path):
    settings = {"epochs": 3, "probes": {"metrics": []}, "schedule": {"name": "constant"}}
    plain = tiny_config("sglr", **settings)
    disk = tiny_config("sglr", **settings, compute={"label_memory": "disk"})
    assert build(disk, CPU).labels.rows.mapped
    train_run(plain, tmp_path / "device", device="cpu")
    assert interrupted_in_epoch(2, disk, tmp_path / "disk") == "interrupted"
    train_run(None, tmp_path / "disk", device="cpu", resume=True)
    runs = [Run.open(tmp_path / name) for name in ("device", "disk")]
    kept = [r.records[~r.records["field"].str.startswith("seconds")].drop(columns=["run", "seconds"]) for r in runs]
    assert kept[0].reset_index(drop=True).equals(kept[1].reset_index(drop=True))
    files = [tmp_path / name / "checkpoints" / "best.safetensors" for name in ("device", "disk")]
    assert files[0].read_bytes() == files[1].read_bytes()


def interrupted_in_epoch(epoch, config, folder):
    bus = EventBus()

    def stop(event):
        if event.clock.epoch == epoch:
            raise KeyboardInterrupt

    bus.on(StepEnded, stop)
    return train_run(config, folder, device="cpu", bus=bus)


MEASURE = """
from pathlib import Path
import torch
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.files.tensorfile import read_tensors, write_tensors

place, path = sys.argv[1], Path(sys.argv[2])
n, k = 40000, 1000
write_tensors(path, {"a": torch.zeros(4)}, {})
context = LabelContext(torch.arange(n) % k, k, 1, place=place)
with Most():
    rows = context.one_hot_rows()
    for index in torch.randperm(n).split(1000):
        rows[index] = 0.9 * rows[index] + 0.1 / k
    write_tensors(path, {"labels/rows": rows.tensor}, {})
    _, tensors = read_tensors(path)
    rows.tensor.copy_(tensors["labels/rows"])
"""


@pytest.mark.slow
@needs_proc
def test_memory_of_rows_on_disk_stays_flat_also_while_saved_and_restored(tmp_path):
    """160 MB of rows: on the device they take that much at least, on disk some 20 MB while they are made."""
    grown = {place: grown_memory(MEASURE, place, tmp_path / "rows.safetensors") for place in ("disk", "device")}
    assert grown["device"] > 155, grown
    assert grown["disk"] < 30, grown
