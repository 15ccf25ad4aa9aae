"""Attack reference runs with images of other networks: `python runs/reference/transfer.py [NAME PART...]`, Tab. B.3.

The sources are trained here too, with hard labels, on the same images as their targets: the split of the digits goes
with the seed, so that a source of another seed would have been trained on some of the target's test images. Their
records go to `studies/transfer-sources`. Targets are trained anew as `evaluate.py` does and held against the committed
records in the same way. Only the records and outcomes of transfer attacks are added to a target's committed folder.
"""

from __future__ import annotations

import shutil
import sys

from evaluate import WORK, add_records, as_it_was_computed, same_training
from make import HERE, SEEDS, is_completed, jobs, work

from overfit_lab.cli.jobs import RunsProgress
from overfit_lab.evaluation.attackers import TRANSFER, make_attacker
from overfit_lab.evaluation.source import open_source
from overfit_lab.evaluation.store import evaluate_into
from overfit_lab.processes.pool import Job, Report, run_jobs, usable_cores
from overfit_lab.records.reader import Run
from overfit_lab.training.subjects import at_checkpoints, open_run

KEPT_SOURCES = HERE / "studies" / "transfer-sources"
MADE_SOURCES = WORK / "studies" / "transfer-sources"
SOURCES = {"digits-deep": ["model.depth=4"], "digits-wide": ["model.hidden=1024"]}
"""Name to what differs from `digits-hard`, two hidden layers of 256."""
TARGETS = ("digits-hard", "digits-sglr")
NO_PROBES = ["probes.metrics=[]"]
"""Probes change no weights, so that a run without them has the same checkpoints."""


def make_source(report: Report, name: str, seed: int) -> None:
    """Train one source and take its records, not its weights, into the committed folder."""
    folder = MADE_SOURCES / f"{name}-seed{seed}"
    if not is_completed(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        less = ["evaluation.every=25", *NO_PROBES]
        work(report, folder, "digits-hard", [f"name={name}", f"seed={seed}", *SOURCES[name], *less])
    left_out = shutil.ignore_patterns("checkpoints", ".lock")
    shutil.copytree(folder, KEPT_SOURCES / folder.name, ignore=left_out, dirs_exist_ok=True)


def attack_target(report: Report, name: str, source: str, overrides: list[str]) -> None:
    """Train one target, attack its best and its final checkpoint with every source of its seed."""
    folder, committed = WORK / name, HERE / name
    if not is_completed(folder):
        own = [*overrides, *as_it_was_computed(committed), *NO_PROBES]
        work(lambda share, _: report(0.8 * share, "training"), folder, source, own)
    if not same_training(Run.open(folder), Run.open(committed)):
        raise RuntimeError("its records are not the committed ones; made on another machine or by other versions?")
    session = open_run(folder, device="cpu")
    seed = session.config.seed
    for snapshot in at_checkpoints(session, folder, "best,final"):
        for other in SOURCES:
            opened = open_source(
                str(MADE_SOURCES / f"{other}-seed{seed}"), session.config, session.data, session.device
            )
            evaluate_into(folder, snapshot, make_attacker(TRANSFER, session.config, source=opened))
    report(0.95, "writing")
    add_records(folder, committed, f"/{TRANSFER}-")
    (committed / "evaluations").mkdir(exist_ok=True)
    for path in (folder / "evaluations").glob(f"{TRANSFER}-*.npz"):
        shutil.copy(path, committed / "evaluations" / path.name)


def main(parts: list[str]) -> None:
    """Every source, then every target whose name contains one of the parts; all of them without any."""
    targets = {f"{name}-seed{seed}" for name in TARGETS for seed in SEEDS}
    chosen = {name: jobs()[name] for name in sorted(targets) if not parts or any(part in name for part in parts)}
    wanted = [(name, seed) for name in SOURCES for seed in SEEDS if any(f"seed{seed}" in target for target in chosen)]
    with RunsProgress(len(wanted) + len(chosen)) as progress:
        at_once = {"n_processes": usable_cores(), "n_threads": 1}
        sources = [Job(f"{name}-seed{seed}", make_source, (name, seed)) for name, seed in wanted]
        failures = run_jobs(sources, progress, **at_once)
        if not failures:
            attacks = [Job(name, attack_target, (name, *job)) for name, job in chosen.items()]
            failures = run_jobs(attacks, progress, **at_once)
    for name, reason in failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
