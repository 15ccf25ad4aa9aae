"""Everything the package does, over and over in one process, and whether memory, file handles and threads stay flat.

``python tests/faults/soak.py --minutes 90 --out FOLDER`` writes soak.json, soak.csv and soak.png into the folder and
exits with 1 where something grows. A cycle trains, stops, resumes, probes, evaluates, checks, watches, monitors, draws,
tabulates, diagnoses and reports tiny runs of digits, and removes them; at its end a sample is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import gc
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "monitor")]

BOUND = 5.0
"""Megabytes an hour that resident memory may grow by, at the upper end of the slope's interval."""
WARM_UP = 1 / 3
"""Share of the time whose samples are not judged: imports, caches of libraries, the allocator's pools."""
SHORTEST = 15.0
"""Minutes below which a slope says nothing, and is not judged."""
FLAT = ("handles", "threads", "children", "temporary_files", "leftovers")
"""What has to be the same in every sample after the warm-up."""
FIGURES = ("overview", "fig1", "fig3", "calibration", "onset")
TABLES = ("methods", "calibration")
LABELS = ("hard", "sglr", "te")
PRINTED = io.StringIO(), io.StringIO()
"""stdout and stderr of the commands; the same two each time, as typer remembers each stream that it wrote to."""


class Cycle:
    """One round of everything, below a folder that is removed after it."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.run = folder / LABELS[number % len(LABELS)]
        self.counts: Counter[str] = Counter()

    def go(self) -> list[str]:
        """Run all of it; the files that are no part of a run folder and stayed behind."""
        self.train()
        self.look()
        self.monitor()
        self.draw()
        stayed = [path.name for path in self.folder.rglob(".*") if path.name != ".lock"]
        shutil.rmtree(self.folder)
        return stayed

    def train(self) -> None:
        """A run that is interrupted after its first epoch and resumed, and a second one to compare it with."""
        from overfit_lab.config import to_yaml
        from overfit_lab.training.events import EpochEnded, EventBus
        from overfit_lab.training.run import train_run
        from tiny import tiny_config

        config = tiny_config(LABELS[self.number % len(LABELS)], seed=self.number % 7)

        def stop(event: EpochEnded) -> None:
            if event.snapshot.clock.epoch == 1:
                raise KeyboardInterrupt

        bus = EventBus()
        bus.on(EpochEnded, stop)
        assert train_run(config, self.run, device="cpu", bus=bus) == "interrupted"
        self.counts["interrupted"] += 1
        source = self.folder / "config.yaml"
        source.write_text(to_yaml(config))
        self.command("train", str(source), "--out", str(self.run), "--resume")
        other = tiny_config("hard", seed=1, epochs=2, probes={"every": 1, "metrics": ["calibration", "iiw"], "n": 24})
        source.write_text(to_yaml(other))
        self.command("train", str(source), "--out", str(self.folder / "other"))

    def look(self) -> None:
        """Probing, evaluating, checking, watching."""
        run = str(self.run)
        self.command("probe", run, "--metric", "calibration,gradient-norm,iiw,features", "--n", "24")
        self.command("probe", run, "--metric", "hessian", "--checkpoint", "best", "--n", "16", "--no-save")
        self.command("evaluate", run, "--n", "24", "--attack", "pgd,square", "--queries", "20", "--steps", "3")
        self.command("check", run, "--n", "16", "--queries", "10")
        self.command("watch", str(self.folder), "--once")

    def monitor(self) -> None:
        """A stranger's plain loop with a monitor."""
        from loops import arrays, plain_loop, stranger

        from overfit_lab.methods.attacks.pgd import PGD
        from overfit_lab.methods.threat import ThreatModel
        from overfit_lab.monitor.monitor import Monitor

        data, model = arrays(), stranger()
        attack = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)
        monitor = Monitor(model, *data, attack=attack, n=24, penultimate="5", n_epochs=3, folder=self.folder / "mine")
        plain_loop(model, data[0], monitor)
        monitor.close()
        self.counts["monitored"] += 1

    def draw(self) -> None:
        """Figures, tables, diagnosis and report."""
        runs = [str(self.run), str(self.folder / "other")]
        for i, name in enumerate(FIGURES):
            suffix = ("png", "pdf", "svg")[i % 3]
            self.command("figure", name, runs[0], "--out", str(self.folder / f"{name}.{suffix}"))
        for name in TABLES:
            self.command("table", *runs, "--kind", name, "--out", str(self.folder / f"{name}.tex"))
        self.command("compare", *runs, str(self.folder / "mine"), "--format", "markdown")
        self.command("diagnose", *runs, str(self.folder / "mine"))
        self.command("report", *runs, "--out", str(self.folder / "report.html"))

    def command(self, *arguments: str) -> None:
        """A command of overfit-lab in this process, which has to do what it was asked to."""
        from overfit_lab.cli.main import run

        for stream in PRINTED:
            stream.seek(0)
            stream.truncate()
        with contextlib.redirect_stdout(PRINTED[0]), contextlib.redirect_stderr(PRINTED[1]):
            status = run([*arguments])
        if status:
            raise RuntimeError(f"overfit-lab {' '.join(arguments)}: status {status}: {PRINTED[1].getvalue()[-500:]}")
        self.counts[arguments[0]] += 1


def sample(temporary: Path, stayed: list[str]) -> dict[str, float]:
    """What this process holds now, after its garbage is collected and free memory is handed back.

    Megabytes of resident memory and of its part that is no mapped file; open files, threads, processes begun, files
    in the folder for temporary ones, hidden files left in run folders, and Python's objects.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    tasks = list(Path("/proc/self/task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks if (task / "children").exists())
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) / 1024,
        "memory_anonymous_mb": int(status["RssAnon"].split()[0]) / 1024,
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(tasks),
        "children": children,
        "temporary_files": sum(1 for _ in temporary.rglob("*")),
        "leftovers": len(stayed),
        "objects": len(gc.get_objects()),
    }


def verdict(samples: list[dict[str, float]]) -> dict[str, Any]:
    """The slope of memory over the samples after the warm-up, with a 95% interval, and what is not flat.

    The slope is the median of the slopes between all pairs of samples (Theil 1950, Sen 1968), which a few samples in
    which a library's pool grew do not move.
    """
    from scipy.stats import theilslopes

    last = samples[-1]["minutes"]
    judged = [s for s in samples if s["minutes"] >= WARM_UP * last] or samples
    hours = [s["minutes"] / 60 for s in judged]
    slopes: dict[str, Any] = {}
    for name in ("memory_mb", "memory_anonymous_mb", "objects"):
        values = [s[name] for s in judged]
        found = theilslopes(values, hours, 0.95) if len(judged) > 2 else (float("nan"),) * 4
        slopes[name] = {"per_hour": found[0], "low": found[2], "high": found[3], "last": values[-1]}
    grown = [name for name in FLAT if len({s[name] for s in judged}) > 1 or (name == "leftovers" and judged[-1][name])]
    long_enough = last >= SHORTEST
    if long_enough and not slopes["memory_mb"]["high"] < BOUND:
        grown.append("memory_mb")
    return {
        "minutes": last,
        "cycles": len(samples),
        "judged": len(judged),
        "bound_mb_per_hour": BOUND,
        "memory_is_judged": long_enough,
        "slopes": slopes,
        "ranges": {name: [min(s[name] for s in judged), max(s[name] for s in judged)] for name in FLAT},
        "not_flat": grown,
        "holds": not grown,
    }


def draw(samples: list[dict[str, float]], found: dict[str, Any], path: Path) -> None:
    """Memory, file handles and threads over time."""
    from matplotlib.ticker import MaxNLocator

    from overfit_lab.views.figures.style import BLACK, BLUE, COLUMN, VERMILLION, new_figure, save, style

    slope = found["slopes"]["memory_mb"]
    caption = (
        f"{found['cycles']} cycles in {found['minutes']:.0f} min; after the grey part memory changes by "
        f"{slope['per_hour']:+.2f} MB/h (95%: {slope['low']:+.2f} to {slope['high']:+.2f})"
    )
    x = [s["minutes"] for s in samples]
    with style():
        figure = new_figure(COLUMN * 1.6, 3.4, caption)
        memory, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        memory.plot(x, [s["memory_mb"] for s in samples], color=BLUE, linestyle="-", label="resident memory")
        anonymous = [s["memory_anonymous_mb"] for s in samples]
        memory.plot(x, anonymous, color=VERMILLION, linestyle=(0, (4, 1)), label="without mapped files")
        memory.set_ylim(0, None)
        memory.set_ylabel("MB")
        counts.plot(x, [s["handles"] for s in samples], color=BLUE, linestyle="-", label="open files")
        counts.plot(x, [s["threads"] for s in samples], color=BLACK, linestyle=(0, (1, 1)), label="threads")
        counts.set_ylim(0, None)
        counts.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        counts.set_xlabel("minutes")
        for axes, place in ((memory, "lower right"), (counts, "center right")):
            axes.axvspan(0, WARM_UP * found["minutes"], color="#000000", alpha=0.06, linewidth=0)
            axes.legend(loc=place, ncols=2)
        save(figure, path)


def soak(minutes: float, out: Path, on_line: Any = None) -> dict[str, Any]:
    """Cycle for so many minutes, and write what was sampled into a folder.

    Args:
        minutes: how long; the cycle that is begun is ended.
        out: gets soak.json, soak.csv and soak.png.
        on_line: is told where it stands, about twice a minute.

    Returns:
        What :func:`verdict` found.
    """
    import torch

    samples: list[dict[str, float]] = []
    counts: Counter[str] = Counter()
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="soak-"))
    before, tempfile.tempdir = tempfile.tempdir, str(work / "tmp")
    (work / "tmp").mkdir()
    began = said = time.monotonic()
    try:
        while time.monotonic() - began < 60 * minutes:
            cycle = Cycle(work / "runs", len(samples))
            cycle.folder.mkdir()
            stayed = cycle.go()
            counts += cycle.counts
            samples.append(sample(work / "tmp", stayed) | {"minutes": (time.monotonic() - began) / 60})
            if on_line is not None and time.monotonic() - said > 30:
                said = time.monotonic()
                on_line(_line(samples, minutes))
    finally:
        tempfile.tempdir = before
        shutil.rmtree(work, ignore_errors=True)
    found = verdict(samples)
    about = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    content = {"verdict": found, "done": dict(counts), "versions": about}
    (out / "soak.json").write_text(json.dumps(content, indent=2) + "\n")
    with open(out / "soak.csv", "w", newline="") as file:
        rows = csv.DictWriter(file, ["minutes", *(name for name in samples[0] if name != "minutes")])
        rows.writeheader()
        rows.writerows({name: round(value, 2) for name, value in s.items()} for s in samples)
    draw(samples, found, out / "soak.png")
    return found


def _line(samples: list[dict[str, float]], minutes: float) -> str:
    last = samples[-1]
    left = max(0.0, minutes - last["minutes"])
    return (
        f"{len(samples)} cycles, {last['memory_mb']:.1f} MB, {last['handles']:.0f} open files, "
        f"{last['threads']:.0f} threads; {left:.0f} min left"
    )


def main() -> int:
    """The command line; 0 where everything is flat, 1 where something grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=90.0, help="how long (default %(default)g)")
    parser.add_argument("--out", type=Path, default=Path("runs/soak"), help="folder for the results (%(default)s)")
    chosen = parser.parse_args()
    found = soak(chosen.minutes, chosen.out, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(found, indent=2))
    print("everything is flat" if found["holds"] else f"not flat: {', '.join(found['not_flat'])}")
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
