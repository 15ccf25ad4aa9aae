"""`overfit-lab demo`: robust overfitting and its cure on the digits, in about a minute."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.errors import ConfigError, FailedError, Interrupted, RunFolderError
from overfit_lab.files.terminal import say, say_lines

if TYPE_CHECKING:
    from overfit_lab.processes.pool import Report
    from overfit_lab.records.reader import Run

RECIPES = ("digits-hard", "digits-smooth", "digits-sglr")
NOISE_RECIPES = ("digits-noise-hard", "digits-noise-sglr")
FIGURES = ("overview", "fig1", "fig2", "fig3", "calibration", "fig4", "fig5")


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the runs and figures.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of split, noise, weights and order.")] = 0,
) -> None:
    """Train with hard labels, label smoothing and SGLR on noisy digits; print a table, draw figures, write a report."""
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out}: is not empty; choose another --out, or remove it")
    from overfit_lab.records.layout import check_writable

    check_writable(out)
    from overfit_lab.files.writing import write_text
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.report.page import make_report

    say("Robust overfitting on digits: 500 training images, 30% of their labels flipped on purpose.")
    try:
        train_all(out, seed)
    except KeyboardInterrupt:
        raise Interrupted(f"remove {out} before the next demo, or choose another --out") from None
    runs = find_runs([out / name for name in RECIPES])
    noise = find_runs([out / name for name in NOISE_RECIPES])
    say()
    report(runs)
    say()
    say("Figures:")
    for path in draw_all(runs, noise, out):
        say(f"  {path}")
    page = out / "report.html"
    write_text(make_report(runs, "Robust overfitting on digits"), page)
    say()
    say(f"Everything in one page, with a diagnosis in words: {page}")
    say(f"Records: {out}/RUN/records.jsonl. Next: overfit-lab probe {quote(f'{out}/digits-hard')} --metric iiw")


def train_all(out: Path, seed: int) -> None:
    """Train the recipes, each in a process of one thread; the first failure ends all of them.

    Raises:
        RunFolderError: a run failed; the message says why.
        KeyboardInterrupt: stopped by the user.
    """
    from overfit_lab.cli.jobs import RunsProgress
    from overfit_lab.processes.pool import Job, run_jobs, usable_cores

    jobs = [Job(name, train_recipe, (name, str(out / name), seed)) for name in (*RECIPES, *NOISE_RECIPES)]
    n_processes = min(len(jobs), usable_cores(), 4)
    with RunsProgress(len(jobs)) as progress:
        failures = run_jobs(
            jobs, progress, n_processes=n_processes, n_threads=1, stop_at_failure=True, from_server=True
        )
    for name, reason in failures.items():
        raise RunFolderError(f"the demo's run {name} failed: {reason}")


def train_recipe(report: Report, name: str, folder: str, seed: int) -> None:
    """Train one recipe, as the job of a worker process."""
    from overfit_lab.config import apply_overrides
    from overfit_lab.config.recipes import recipe
    from overfit_lab.training.events import EpochEnded, EventBus
    from overfit_lab.training.run import train_run

    def epoch_ended(event: EpochEnded) -> None:
        clock = event.snapshot.clock
        report(clock.epoch / clock.n_epochs, f"epoch {clock.epoch}/{clock.n_epochs}")

    bus = EventBus()
    bus.on(EpochEnded, epoch_ended)
    config = apply_overrides(recipe(name), [f"seed={seed}"])
    status = train_run(config, Path(folder), device="cpu", bus=bus)
    if status == "interrupted":
        raise KeyboardInterrupt
    if status != "completed":
        raise FailedError(status)


def report(runs: list[Run]) -> None:
    """Print the table of the runs and two sentences about it."""
    from overfit_lab.records.summary import compare, summarise
    from overfit_lab.views.tables.compare import format_table

    say_lines(format_table(compare(runs)))
    rows = {row["labels"]: row for _, row in summarise(runs).iterrows()}
    hard, sglr = rows["hard"], rows["sglr"]
    say(
        f"Hard labels: robust test accuracy peaks at {hard['robust_best']:.1f}% in epoch {hard['best_epoch']} and ends "
        f"at {hard['robust_final']:.1f}%, a loss of {hard['robust_diff']:.1f} points."
    )
    if sglr["robust_diff"] < hard["robust_diff"] / 2 and hard["robust_diff"] > 0:
        verdict = f"SGLR loses {sglr['robust_diff']:.1f} points of its best: it tames robust overfitting here."
    else:
        verdict = f"SGLR loses {sglr['robust_diff']:.1f} points: with this seed it does not tame robust overfitting."
    say(verdict)
    say("This overfitting comes with the label noise: without it digits lose about one point.")


def draw_all(runs: list[Run], noise: list[Run], out: Path) -> list[Path]:
    """Draw every figure; return the paths."""
    from overfit_lab.config.catalog import FIGURES as REGISTRY
    from overfit_lab.files.writing import make_folder
    from overfit_lab.views.figures.style import save

    folder = out / "figures"
    make_folder(folder)
    paths = []
    for name in FIGURES:
        path = folder / f"{name}.png"
        save(REGISTRY[name](noise if name in ("fig4", "fig5") else runs), path)
        paths.append(path)
    return paths
