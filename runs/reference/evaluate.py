"""Evaluate the reference runs after training: `python runs/reference/evaluate.py [NAME PART...]`.

Checkpoints are not in version control. So each run is trained anew into `runs/reference-work`, where one left by an
earlier call is used; what it records of training and evaluation is held against the committed records, which it must
equal to the last digit (probes have other estimators since, which is no difference in training); then its best and
final checkpoints are attacked by AutoAttack, the final one is checked for masked gradients, and calibration is measured
under PGD and Square. What that gives is put into the committed folder: records, and outcomes of every sample.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from make import HERE, is_completed, jobs, work

from overfit_lab.cli.jobs import RunsProgress
from overfit_lab.config.catalog import CHECKS
from overfit_lab.evaluation.attackers import make_attacker
from overfit_lab.evaluation.checks.base import Bench
from overfit_lab.evaluation.checks.report import run_checks
from overfit_lab.evaluation.store import evaluate_into, record_measurement
from overfit_lab.processes.pool import Job, Report, run_jobs, usable_cores
from overfit_lab.records.reader import Run
from overfit_lab.records.records import KEY
from overfit_lab.training.probing import probe_run
from overfit_lab.training.subjects import at_checkpoints, open_run

WORK = HERE.parent / "reference-work"
METHODS = (
    *("standard", "hard", "smooth", "te", "sglr", "trades", "trades-sglr", "awp", "kd-at", "kd-swa"),
    *("mart", "alp", "clp", "logit-squeezing"),
)
"""Those of the paper's tables, and those that are said to mask gradients."""
N_ATTACKED = {"digits": None, "cifar10-small": 500}
"""Test samples for AutoAttack; None: all of them."""
N_CHECKED = 200
EXACT = ["epoch", "step", "probe", "field", "split", "inputs", "labels", "value", "stderr", "n"]


def wanted() -> dict[str, tuple[str, list[str]]]:
    """Folder name to recipe and overrides, of the runs that are evaluated."""
    names = [f"digits-{method}" for method in METHODS]
    names += [f"cifar10-small-{method}" for method in ("hard", "smooth", "sglr")]
    return {name: job for name, job in jobs().items() if name.rpartition("-seed")[0] in names}


def same_training(mine: Run, committed: Run) -> bool:
    """Whether training gave the committed records again, to the last digit; what is new since is passed over."""
    keys = [key for key in EXACT if key not in ("value", "stderr")]
    old, new = (run.records[EXACT].set_index(keys).sort_index() for run in (committed, mine))
    probes = old.index.get_level_values("probe").str.partition("@").get_level_values(0)
    fields = old.index.get_level_values("field")
    old = old[probes.isin(["training", "evaluation"]) & ~fields.str.startswith("seconds")]
    return bool(old.index.isin(new.index).all()) and old.equals(new.loc[old.index])


def as_it_was_computed(committed: Path) -> list[str]:
    """Overrides for folders that are older than a way of computing which differs by rounding."""
    known = yaml.safe_load((committed / "config.yaml").read_text())
    return [] if "fold" in known.get("compute", {}) else ["compute.fold=false"]


def evaluate(report: Report, name: str, source: str, overrides: list[str]) -> None:
    """One run, from training to what is committed."""
    folder, committed = WORK / name, HERE / name
    if not is_completed(folder):
        own = [*overrides, *as_it_was_computed(committed)]
        work(lambda share, _: report(0.4 * share, "training"), folder, source, own)
    trained = Run.open(folder)
    if not same_training(trained, Run.open(committed)):
        raise RuntimeError("its records are not the committed ones; made on another machine or by other versions?")
    session = open_run(folder, device="cpu")
    for number, snapshot in enumerate(at_checkpoints(session, folder, "best,final")):
        attacker = make_attacker("autoattack", session.config)
        done = 0.4 + 0.2 * number
        evaluate_into(
            folder,
            snapshot,
            attacker,
            n=next(n for start, n in N_ATTACKED.items() if name.startswith(start)),
            on_progress=lambda share, text, done=done: report(done + 0.2 * share, text),
        )
    check(folder)
    report(0.9, "calibration")
    probe_run(
        folder,
        ["calibration"],
        checkpoint="best,final",
        inputs=["clean", "adversarial", "black-box"],
        device="cpu",
    )
    put(folder, committed)


def check(folder: Path) -> None:
    """Look for masked gradients at the final checkpoint; the attacks' own outcomes are not kept."""
    session = open_run(folder, device="cpu")
    (snapshot,) = at_checkpoints(session, folder, "final")

    def run(name, options, source):  # type: ignore[no-untyped-def]
        from overfit_lab.evaluation.run import evaluate as attack

        return attack(snapshot, make_attacker(name, session.config, options, source), n=N_CHECKED)

    bench = Bench(snapshot, session.config, run, n=N_CHECKED)
    found = run_checks(bench, list(CHECKS.items()))
    record_measurement(folder, snapshot, "masking", found.measurement())


def put(folder: Path, committed: Path) -> None:
    """Take what was measured after training into the committed folder."""
    add_records(folder, committed)
    shutil.copytree(folder / "evaluations", committed / "evaluations", dirs_exist_ok=True)
    for path in (folder / "arrays").glob("masking-*.npz"):
        shutil.copy(path, committed / "arrays" / path.name)


def add_records(folder: Path, committed: Path, part: str = "") -> None:
    """Add later records of a run to the committed ones, where their field has the part; equal ones are replaced."""
    new = [line for line in _later(folder) if part in json.loads(line)["field"]]
    replaced = {_number(line) for line in new}
    kept = [line for line in _later(committed) if _number(line) not in replaced]
    (committed / "records-posthoc.jsonl").write_text("".join([*kept, *new]))


def _later(folder: Path) -> list[str]:
    path = folder / "records-posthoc.jsonl"
    return path.read_text().splitlines(keepends=True) if path.is_file() else []


def _number(line: str) -> tuple[Any, ...]:
    """What a record is a value of."""
    record = json.loads(line)
    return tuple(record[key] for key in KEY)


def main(parts: list[str]) -> None:
    """Evaluate every run whose name contains one of the parts; all of them without any."""
    chosen = {name: job for name, job in wanted().items() if not parts or any(part in name for part in parts)}
    with RunsProgress(len(chosen)) as progress:
        work_left = [Job(name, evaluate, (name, *job)) for name, job in chosen.items()]
        failures = run_jobs(work_left, progress, n_processes=usable_cores(), n_threads=1)
    for name, reason in failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
