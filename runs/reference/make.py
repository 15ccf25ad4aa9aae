"""Make the reference runs again: `make reference`, or `python runs/reference/make.py [NAME PART...]`.

Each run is trained into this folder under its name; a run that is there and completed is passed over, an unfinished
one is resumed. Checkpoints stay out of version control. The CIFAR-10 runs need the images; CIFAR10 names the data set
(default `parquet:.data/cifar10-jpeg`, the JPEG-encoded mirror that the committed records were made with).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from overfit_lab.cli.progress import TrainingProgress
from overfit_lab.config import apply_overrides
from overfit_lab.experiment import train_run
from overfit_lab.recipes import recipe
from overfit_lab.training.events import EventBus

HERE = Path(__file__).resolve().parent
CIFAR10 = os.environ.get("CIFAR10", "parquet:.data/cifar10-jpeg")
SEEDS = (0, 1, 2)


def jobs() -> dict[str, tuple[str, list[str]]]:
    """Folder name to recipe and overrides."""
    found: dict[str, tuple[str, list[str]]] = {}
    for seed in SEEDS:
        for labels in ("standard", "hard", "smooth", "sglr"):
            found[f"digits-{labels}-seed{seed}"] = (f"digits-{labels}", [f"seed={seed}"])
        for labels in ("hard", "smooth", "sglr"):
            found[f"digits-noise40-{labels}-seed{seed}"] = (f"digits-noise-{labels}", [f"seed={seed}"])
        noiseless = [f"seed={seed}", "data.noise.rate=0", "data.noise.kind=none"]
        found[f"clean-digits-hard-seed{seed}"] = ("digits-hard", noiseless)
    for percent in (0, 20, 60):
        noise = [f"data.noise.rate={percent / 100}"] if percent else ["data.noise.rate=0", "data.noise.kind=none"]
        for labels in ("hard", "smooth", "sglr"):
            found[f"digits-noise{percent:02d}-{labels}-seed0"] = (f"digits-noise-{labels}", ["seed=0", *noise])
    for seed in SEEDS:
        for labels in ("hard", "sglr"):
            overrides = [f"seed={seed}", f"data.name={CIFAR10}"]
            found[f"cifar10-small-{labels}-seed{seed}"] = (f"cifar10-small-{labels}", overrides)
    return found


def main(parts: list[str]) -> None:
    """Train every run whose name contains one of the parts; all of them without any."""
    torch.set_num_threads(1)
    for name, (source, overrides) in jobs().items():
        folder = HERE / name
        info = folder / "run.json"
        if parts and not any(part in name for part in parts):
            continue
        if info.is_file() and json.loads(info.read_text())["status"] == "completed":
            continue
        resume = info.is_file()
        bus = EventBus()
        with TrainingProgress(name) as progress:
            progress.subscribe(bus)
            config = apply_overrides(recipe(source), overrides)
            status = train_run(None if resume else config, folder, resume=resume, device="cpu", bus=bus)
        if status != "completed":
            sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
