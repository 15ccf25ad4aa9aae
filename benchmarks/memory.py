"""Peak memory of each probe beyond its inputs, at 1,000 and at 10,000 samples."""

from __future__ import annotations

import warnings

import torch
from harness import Bar, Result, Row
from setting import K, Setting, images

from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.models.compute.memory import PeakBytes
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Clock

WITHOUT_SAMPLES = ("phases",)
"""Probes that look at records alone."""
OPTIONS = {"hessian": {"top_k": 0, "layers": False}, "logit-geometry": {"n_steps": 1, "n_bisections": 1}}
"""Fewer repetitions of the same passes: they change the time, not the peak."""


def snapshot_of(n: int) -> Snapshot:
    """A small network and n images of 32x32, one quarter of them relabelled."""
    torch.manual_seed(0)
    model = preact_resnet18(ModelSpec(K), width=4, blocks=(1, 1), stem_stride=2).eval()
    x, y = images(n)
    given = torch.where(torch.arange(n) % 4 == 0, (y + 1) % K, y)
    pixels = (255 * x).to(torch.uint8)
    data = dataset_from_arrays((pixels, given), test=(pixels, y), y_true=y)
    reference = {name: p.detach() + 0.01 for name, p in model.named_parameters()}
    clock = Clock(epoch=1, step=1, n_epochs=5)
    return Snapshot(model=model, data=data, clock=clock, reference=reference, penultimate="linear")


def measure(setting: Setting) -> Result:
    """Megabytes of tensors that a probe holds at once, images and logits of its samples excluded."""
    warnings.filterwarnings("ignore")
    sizes = setting.size(1000, 50), setting.size(10000, 500)
    snapshots = {n: snapshot_of(n) for n in sizes}
    rows = []
    for name in PROBES:
        if name in WITHOUT_SAMPLES:
            continue
        cls = PROBES[name]
        split = cls.default_splits[0]
        given = {"n": max(sizes), "splits": [split], "inputs": ["clean"], **OPTIONS.get(name, {})}
        probe = cls(parse_options(cls, given, prefix=name))
        peaks = []
        run_probe(probe, snapshot_of(64))
        for n in sizes:
            snapshot = snapshots[n]
            snapshot.view(split, "clean")
            with PeakBytes() as memory:
                run_probe(probe, snapshot)
            peaks.append(memory.peak / 2**20)
        figures = {f"MB at n = {n:,}": peak for n, peak in zip(sizes, peaks, strict=True)}
        rows.append(
            Row(name, figures | {"bytes a further sample": (peaks[1] - peaks[0]) * 2**20 / (sizes[1] - sizes[0])})
        )
    image = 3 * 32 * 32 * 4
    bars = [
        Bar(f"{row.contender}: bytes a further sample, of {image:,} that an image takes", growth, 0.1 * image, False)
        for row in rows
        for growth in [row.figures["bytes a further sample"]]
    ]
    return Result("Peak memory of each probe beyond its images and logits", rows, bars)
