"""Make the reference runs again: `make reference`, or `python runs/reference/make.py [NAME PART...]`.

Each run is trained into this folder under its name, each in a process of one thread, as many at a time as there are
cores; a run that is there and completed is passed over, an unfinished one is resumed. The studies are sweeps below
`studies`; those that are committed as grids of an earlier version, with a grid.json, are passed over as well.
Checkpoints stay out of version control. The CIFAR-10 runs need the images; CIFAR10 names the data set (default
`parquet:.data/cifar10-jpeg`, the JPEG-encoded mirror that the committed records were made with). PROCESSES is how many
are trained at a time.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import product
from pathlib import Path

from overfit_lab.cli.grid import grid_spec
from overfit_lab.cli.jobs import RunsProgress
from overfit_lab.config import apply_overrides
from overfit_lab.config.recipes import STUDIES, recipe
from overfit_lab.config.recipes.methods import METHODS
from overfit_lab.processes.pool import Job, Report, run_jobs, usable_cores
from overfit_lab.sweeps.run import run_sweep
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.run import train_run

HERE = Path(__file__).resolve().parent
PROCESSES = int(os.environ.get("PROCESSES", "0"))
CIFAR10 = os.environ.get("CIFAR10", "parquet:.data/cifar10-jpeg")
SEEDS = (0, 1, 2)
FEWER_SEEDS = (0, 1)
EVERY_PROBE = ("standard", "hard", "smooth", "sglr")
FEWER_PROBES = ["probes.every=25", "probes.metrics=[gradient-norm,iiw,calibration,hessian]"]
"""What the table of all methods needs, so that its records stay small."""
KEEP = "dynamics.keep=compact"
"""A byte for the margin of each sample and epoch and one for its predicted class, beside statistics over epochs."""
KEPT_STUDIES = ("digits-table4", "digits-eps", "digits-corruption", "digits-random-pixels", "digits-schedules")


def jobs() -> dict[str, tuple[str, list[str]]]:
    """Folder name to recipe and overrides."""
    found: dict[str, tuple[str, list[str]]] = {}
    for seed in SEEDS:
        for method in ("standard", *METHODS):
            less = [] if method in EVERY_PROBE else FEWER_PROBES
            found[f"digits-{method}-seed{seed}"] = (f"digits-{method}", [f"seed={seed}", *less])
        for labels in ("hard", "smooth", "sglr"):
            found[f"digits-noise40-{labels}-seed{seed}"] = (f"digits-noise-{labels}", [f"seed={seed}"])
        noiseless = [f"seed={seed}", "data.noise.rate=0", "data.noise.kind=none"]
        found[f"clean-digits-hard-seed{seed}"] = ("digits-hard", noiseless)
    for percent in (0, 20, 60):
        noise = [f"data.noise.rate={percent / 100}"] if percent else ["data.noise.rate=0", "data.noise.kind=none"]
        for labels in ("hard", "smooth", "sglr"):
            found[f"digits-noise{percent:02d}-{labels}-seed0"] = (f"digits-noise-{labels}", ["seed=0", *noise])
    for seed in SEEDS:
        overrides = [f"seed={seed}", f"data.name={CIFAR10}"]
        for method in ("hard", "smooth", "sglr"):
            found[f"cifar10-small-{method}-seed{seed}"] = (f"cifar10-small-{method}", overrides)
        found[f"cifar10-small-cosine-seed{seed}"] = ("cifar10-small-hard", [*overrides, "schedule=cosine"])
        found[f"cifar10-small-standard-seed{seed}"] = ("cifar10-small-standard", overrides)
    for seed, precision in product(SEEDS, ("bf16", "fp32")):
        overrides = [f"seed={seed}", f"compute.precision={precision}", "checkpoint.every=10"]
        of_digits = (f"precision-digits-{precision}-seed{seed}", "digits-hard", "probes.every=25")
        of_cifar10 = (f"precision-cifar10-small-{precision}-seed{seed}", "cifar10-small-hard", f"data.name={CIFAR10}")
        for name, source, more in (of_digits, of_cifar10):
            found[name] = (source, [*overrides, more])
    for seed in FEWER_SEEDS:
        overrides = [f"seed={seed}", f"data.name={CIFAR10}"]
        for method in ("te", "trades", "awp"):
            found[f"cifar10-small-{method}-seed{seed}"] = (f"cifar10-small-{method}", overrides)
        for method in ("hard", "sglr"):
            less = ["probes.every=10", "probes.metrics=[logit-geometry]"]
            found[f"geometry-digits-{method}-seed{seed}"] = (f"digits-{method}", [f"seed={seed}", *less])
        for percent, labels in product((0, 20, 40, 60), ("hard", "smooth", "sglr")):
            noise = [f"data.noise.rate={percent / 100}"] if percent else ["data.noise.rate=0", "data.noise.kind=none"]
            found[f"cifar10-noise{percent:02d}-{labels}-seed{seed}"] = (
                f"cifar10-small-noise-{labels}",
                [*overrides, *noise],
            )
    return found


def is_completed(folder: Path) -> bool:
    """Whether the folder holds a completed run."""
    info = folder / "run.json"
    return info.is_file() and json.loads(info.read_text())["status"] == "completed"


def work(report: Report, folder: Path, source: str, overrides: list[str]) -> None:
    """Train one run, or go on with it; runs in a process of its own."""
    resume = (folder / "run.json").is_file()
    config = apply_overrides(recipe(source), [*overrides, KEEP])
    bus = EventBus()
    bus.on(EpochEnded, lambda event: report(event.snapshot.clock.epoch / config.epochs, source))
    if train_run(None if resume else config, folder, resume=resume, device="cpu", bus=bus) != "completed":
        raise KeyboardInterrupt


def main(parts: list[str]) -> None:
    """Train every run and study whose name contains one of the parts; all of them without any."""
    wanted = {name: job for name, job in jobs().items() if not parts or any(part in name for part in parts)}
    missing = {name: job for name, job in wanted.items() if not is_completed(HERE / name)}
    with RunsProgress(len(wanted), len(wanted) - len(missing)) as progress:
        work_left = [Job(name, work, (HERE / name, *job)) for name, job in missing.items()]
        failures = run_jobs(work_left, progress, n_processes=PROCESSES or usable_cores(), n_threads=1)
    for name in KEPT_STUDIES:
        if not parts or any(part in f"studies/{name}" for part in parts):
            study, folder = STUDIES[name], HERE / "studies" / name
            if (folder / "grid.json").is_file():
                continue
            config = apply_overrides(recipe(study.recipe), [*study.sets, "evaluation.every=4"])
            spec = grid_spec(config, study.axes, len(SEEDS), device="cpu")
            failures |= run_sweep(spec, folder, watch=RunsProgress).failures
    for name, reason in failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
