"""Write docs/scaling.md from scaling.md.j2, the committed records and the cost model, and draw its picture.

`python docs/draw_scaling.py` checks every committed run against the model and writes both; with --text, the page alone;
with --check it writes nothing and says whether page and README are what records and model say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from overfit_lab.config import ProbesConfig, RunConfig, parse_config
from overfit_lab.config.catalog import HARDWARE
from overfit_lab.config.recipes import recipe
from overfit_lab.config.recipes.paper import TABLE_2
from overfit_lab.records.reader import Run
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.sweeps.cost.estimate import Cost, price
from overfit_lab.sweeps.cost.hardware import Hardware
from overfit_lab.sweeps.cost.machines.cpu import FITTED_TO
from overfit_lab.sweeps.cost.machines.nvidia import ASSUMED
from overfit_lab.sweeps.cost.storage import device_bytes
from overfit_lab.sweeps.cost.words import in_bytes, in_flops, in_time
from overfit_lab.sweeps.cost.workload import Work, Workload, workload

DOCS = Path(__file__).resolve().parent
RUNS = DOCS.parent / "runs" / "reference"
TEMPLATE, PAGE, PICTURE = "scaling.md.j2", DOCS / "scaling.md", DOCS / "images" / "cost-against-records.png"
MEASURED = DOCS.parent / "benchmarks" / "results" / "scaling.json"
"""What a benchmark of one and more processes writes: a list of rows with the keys of :data:`COLUMNS`."""
COLUMNS = {
    "contender": "",
    "width": "width",
    "processes": "processes",
    "seconds": "seconds a step",
    "images_per_second": "images a second",
    "speedup": "over one process",
}
PACE = 0.1
"""The quantile of the epochs' seconds that stands for an undisturbed epoch."""
N_CORES, CROWDED = 2, 2.1
"""Cores of the machine of the records; runs at a time from which on they did not have a core each."""
PRECISE, LOW, HIGH = "epyc-core", 0.05, 0.3
SEEDS = 3
NOT_TIMED = "precision-*"
"""Runs whose seconds say nothing: other work kept both cores busy, and half are in a precision that has no rate."""
FAMILIES = {
    "cifar10-small": ("CIFAR-10 small", "^"),
    "cifar10-noise": ("CIFAR-10 small, label noise", "v"),
    "studies/transfer-sources": ("digits, larger MLPs", "D"),
    "digits": ("digits", "o"),
}


def imagenet(method: str) -> RunConfig:
    """A run of the recipe on ImageNet, without probes."""
    config = recipe(f"imagenet-{method}")
    return config.model_copy(update={"probes": ProbesConfig()})


def paper(method: str) -> RunConfig:
    """A run of Tab. 2 with PreAct-ResNet-18, without probes."""
    config = recipe(f"paper-cifar10-{method}")
    content = config.model_dump()
    content["model"] = {"name": "preact-resnet18"}
    content["probes"] = {}
    return parse_config(content)


@dataclass(frozen=True)
class Observed:
    """One committed run's work and seconds; ``pace`` are its seconds of training at the pace of an undisturbed epoch,
    ``beside`` the runs that were trained at a time while this one was, itself counted.
    """

    name: str
    work: Work
    evaluation: Work
    seconds: float
    pace: float
    evaluation_seconds: float | None
    beside: float


def work_of(run: Run) -> Workload:
    """What a committed run had to do."""
    data = run.info["data"]
    sizes, (c, h, w) = data["sizes"], data["shape"]
    shape = DataShape(sizes["train"], sizes.get("val", 0), sizes.get("test", 0), (c, h, w), data["n_classes"])
    return workload(run.config, shape)


def observe(run: Run, name: str, spans: Sequence[tuple[float, float]]) -> Observed | None:
    """What one run did and took; None where it recorded no seconds."""
    series = [run.series("training", f"seconds_{part}")["value"].to_numpy() for part in ("training", "evaluation")]
    training, evaluation = series
    if not len(training):
        return None
    began, ended = span_of(run)
    shared = sum(max(0.0, min(ended, b) - max(began, a)) for a, b in spans)
    work = work_of(run)
    return Observed(
        name=name,
        work=work.training,
        evaluation=work.parts["evaluation"],
        seconds=float(training.sum()),
        pace=float(np.quantile(training, PACE) * len(training)),
        evaluation_seconds=float(evaluation.sum()) if len(evaluation) else None,
        beside=shared / (ended - began),
    )


def span_of(run: Run) -> tuple[float, float]:
    """When training began and ended, seconds since 1970."""
    began, ended = (datetime.fromisoformat(str(run.info[key])).timestamp() for key in ("started", "ended"))
    return began, max(ended, began + 1)


@cache
def observed(names: tuple[str, ...] | None = None) -> tuple[Observed, ...]:
    """Every committed run that recorded its seconds, or those of some names. Counting them takes minutes."""
    folders = sorted(path.parent for part in ("*", "studies/*/*") for path in RUNS.glob(f"{part}/run.json"))
    folders = [folder for folder in folders if not folder.match(NOT_TIMED)]
    folders = [folder for folder in folders if json.loads((folder / "run.json").read_text())["status"] == "completed"]
    runs = {str(folder.relative_to(RUNS)): Run.open(folder) for folder in folders}
    spans = [span_of(run) for run in runs.values()]
    chosen = runs if names is None else names
    return tuple(seen for name in chosen if (seen := observe(runs[name], name, spans)) is not None)


def fit(runs: Iterable[Observed]) -> tuple[float, float]:
    """Rate (floating-point operations a second) and seconds an operation, by least squares of the relative errors."""
    rows = [(run.work.flops / run.pace, run.work.calls / run.pace) for run in runs]
    (a, b), *_ = np.linalg.lstsq(np.array(rows, dtype=float), np.ones(len(rows)), rcond=None)
    return float(1 / a), float(b)


def is_fitted(run: Observed) -> bool:
    """Whether the constants were fitted to it."""
    return any(Path(run.name).match(pattern) for pattern in FITTED_TO)


def is_crowded(run: Observed) -> bool:
    """Whether more runs than cores were trained at a time."""
    return run.beside > CROWDED


def constants(runs: Iterable[Observed] | None = None) -> tuple[float, float]:
    """Rate and seconds an operation, fitted anew to those of some runs that they are fitted to."""
    return fit(run for run in (observed() if runs is None else runs) if is_fitted(run))


def predicted(work: Work) -> float:
    """Seconds on the machine of the records, by the constants that the package has."""
    hardware: Hardware = HARDWARE[PRECISE]
    return hardware.seconds(work.flops, work.calls, "fp32")


def ratios(runs: Sequence[Observed]) -> np.ndarray:
    """Predicted over recorded seconds of training at an undisturbed epoch's pace, (m,)."""
    return np.array([predicted(run.work) / run.pace for run in runs])


def held_out(runs: Iterable[Observed] | None = None) -> list[Observed]:
    """Runs with a core each that nothing was fitted to."""
    return [run for run in (observed() if runs is None else runs) if not is_fitted(run) and not is_crowded(run)]


def crowded() -> list[Observed]:
    """Runs without a core each."""
    return [run for run in observed() if is_crowded(run)]


def family_of(name: str) -> str:
    """The family of a run, a key of :data:`FAMILIES`."""
    return next((prefix for prefix in FAMILIES if name.startswith(prefix)), "digits")


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f}%"


def within(factor: float) -> str:
    """Share of held-out runs within a factor of what was recorded."""
    return percent(float((np.abs(np.log(ratios(held_out()))) <= np.log(factor)).mean()))


def quantile(share: float, of: Callable[[], list[Observed]] = held_out) -> str:
    """A quantile of predicted over recorded."""
    return f"{np.quantile(ratios(of()), share):.2f}"


def check_rows() -> list[list[str]]:
    """A row for runs of one family and arithmetic: what was recorded, predicted, and both's ratio; a core each."""
    kept: dict[tuple[str, str], list[Observed]] = {}
    for run in observed():
        if not is_crowded(run):
            fitted = " (fitted)" if is_fitted(run) else ""
            title, _ = FAMILIES[family_of(run.name)]
            kept.setdefault((title + fitted, in_flops(run.work.flops)), []).append(run)
    rows = []
    for (title, arithmetic), runs in sorted(kept.items()):
        pace, total, own = (
            np.mean([value(run) for run in runs])
            for value in (lambda run: run.pace, lambda run: run.seconds, lambda run: predicted(run.work))
        )
        both = [(predicted(run.evaluation), run.evaluation_seconds) for run in runs if run.evaluation_seconds]
        evaluated = [f"{np.mean(part):.3g}" for part in zip(*both, strict=True)] if both else ["–", "–"]
        numbers = [f"{own:.3g}", f"{pace:.3g}", f"{own / pace:.2f}", f"{total:.3g}"]
        rows.append([title, str(len(runs)), arithmetic, *numbers, *evaluated])
    return rows


@cache
def run_of(name: str) -> Workload:
    """A run of the paper's or of ImageNet's scale, by name."""
    scale, _, method = name.rpartition("imagenet-")
    return workload(imagenet(method)) if name.startswith("imagenet-") and not scale else workload(paper(name))


def cost(name: str, hardware: str, devices: int = 1, share: float | None = None) -> Cost:
    """What it costs; with another share of a GPU's peak where one is given."""
    device: Hardware = HARDWARE[hardware]
    if share is not None:
        device = replace(device, share=dict.fromkeys(device.share, share))
    return price(run_of(name), device, devices)


def seconds(name: str, hardware: str, devices: int = 1) -> str:
    """Seconds in words; of a GPU with the range of the assumed share."""
    mid = cost(name, hardware, devices).total_seconds
    if HARDWARE[hardware].measured:
        return in_time(mid)
    if HARDWARE[hardware].precision != "bf16":
        return in_time(mid)
    low, high = (cost(name, hardware, devices, share).total_seconds for share in (HIGH, LOW))
    return f"{in_time(mid)} ({in_time(low)} to {in_time(high)})"


def study(hardware: str, share: float | None = None) -> float:
    """Seconds of Tab. 2's methods with three seeds each, one after the other."""
    return SEEDS * sum(cost(method, hardware, share=share).total_seconds for method in TABLE_2)


def study_words(hardware: str) -> str:
    """The same in words, with the range."""
    device = HARDWARE[hardware]
    if device.measured:
        return f"{in_time(study(hardware) / N_CORES)} (two runs at a time)"
    if device.precision != "bf16":
        return in_time(study(hardware))
    return f"{in_time(study(hardware))} ({in_time(study(hardware, HIGH))} to {in_time(study(hardware, LOW))})"


def memory(name: str, hardware: str, devices: int = 1) -> str:
    """Bytes on a device."""
    return in_bytes(sum(cost(name, hardware, devices).memory.values()))


def step_bytes(name: str, precision: str) -> int:
    """Bytes of a step of the whole batch on one device."""
    return device_bytes(run_of(name), 1, precision)["step"]


def disturbance(share: float) -> str:
    """A quantile of the recorded sum over the undisturbed pace, runs with a core each."""
    found = [run.seconds / run.pace for run in observed() if not is_crowded(run)]
    return f"{np.quantile(found, share):.2f}"


def measured_rows() -> list[list[str]]:
    """What the benchmark of several processes measured; no rows where it has not run."""
    if not MEASURED.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    return [[_in_words(row[key]) for key in COLUMNS] for row in rows]


def _in_words(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def measured(contender: str, width: int) -> float:
    """The speed-up of two processes that was measured."""
    rows: list[dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    (found,) = (row for row in rows if (row["contender"], row["width"]) == (contender, width))
    return float(found["speedup"])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def hardware_rows() -> list[list[str]]:
    """What is known of each device."""
    rows = []
    for name, device in HARDWARE.items():
        peaks = ", ".join(f"{value / 1e12:.4g} {precision}" for precision, value in device.peak.items())
        share = "fitted" if device.measured else ", ".join(f"{s:g} {p}" for p, s in device.share.items())
        memory_size = in_bytes(device.memory_bytes) if device.memory_bytes else "–"
        link = f"{in_bytes(device.link_bytes)}/s" if device.link_bytes else "–"
        rows.append([f"`{name}`", peaks, share, f"{device.op_seconds * 1e6:.3g}", memory_size, link, device.source])
    return rows


def parts_rows(name: str) -> list[list[str]]:
    """Passes of a step, arithmetic of the parts."""
    work = run_of(name)
    return [[part, in_flops(own.flops), percent(own.flops / sum(p.flops for p in work.parts.values()))]
            for part, own in work.parts.items()]  # fmt: skip


def render() -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(DOCS), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    rate, op_seconds = constants()
    shown = (
        markdown, check_rows, within, quantile, seconds, study_words, memory, measured, measured_rows,
        hardware_rows, parts_rows, run_of, cost, in_bytes, in_flops, in_time, percent, held_out, crowded,
        observed, ratios, step_bytes, disturbance,
    )  # fmt: skip
    environment.globals.update({function.__name__: function for function in shown})
    environment.globals.update(
        rate=rate, op_seconds=op_seconds, columns=list(COLUMNS.values()), methods=TABLE_2, n_seeds=SEEDS, low=LOW,
        high=HIGH, assumed=ASSUMED, hardware=HARDWARE, crowded_from=CROWDED,
    )  # fmt: skip
    return environment.get_template(TEMPLATE).render()


def draw(path: Path) -> None:
    """Predicted over recorded seconds of training, both on logarithmic axes."""
    from matplotlib.lines import Line2D

    from overfit_lab.views.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE, VERMILLION, new_figure, save, style

    colors = dict(zip(FAMILIES, (VERMILLION, ORANGE, GREEN, BLUE), strict=True))
    n_fitted, n_held, n_crowded = sum(map(is_fitted, observed())), len(held_out()), len(crowded())
    note = (
        f"{len(observed())} committed runs, one thread each. Recorded: seconds of training, at an "
        f"undisturbed epoch's pace (10% quantile). Filled: a core each, {n_held} predicted and {n_fitted} "
        "(ringed) fitted. "
        f"Hollow: the {n_crowded} with more runs than cores at a time. Band: a factor of 1.5."
    )
    with style():
        figure = new_figure(COLUMN, 3.5, note)
        axes = figure.subplots()
        ends = np.array([0.7, 700])
        axes.fill_between(ends, ends / 1.5, ends * 1.5, color="#E3E3E3", linewidth=0, zorder=0)
        axes.plot(ends, ends, color=GREY, linewidth=0.8, zorder=1)
        handles = []
        for family, (title, marker) in FAMILIES.items():
            color = colors[family]
            handles.append(Line2D([], [], color=color, marker=marker, linestyle="", label=title))
            for run in observed():
                if family_of(run.name) == family:
                    looks = {"markerfacecolor": "none"} if is_crowded(run) else {"markeredgecolor": "white"}
                    axes.plot(run.pace, predicted(run.work), marker=marker, color=color, markersize=4,
                              markeredgewidth=0.8 if is_crowded(run) else 0.3, zorder=3, **looks)  # fmt: skip
        for run in observed():
            if is_fitted(run):
                axes.plot(run.pace, predicted(run.work), marker="o", color="black", markersize=8,
                          markerfacecolor="none", markeredgewidth=0.7, zorder=4)  # fmt: skip
        handles.append(Line2D([], [], color="black", marker="o", markersize=8, markerfacecolor="none",
                              markeredgewidth=0.7, linestyle="", label="fitted"))  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_aspect("equal")
        ticks = [1, 10, 100]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_yticks(ticks, [str(t) for t in ticks])
        axes.set_xlabel("recorded seconds of training")
        axes.set_ylabel("predicted seconds")
        axes.legend(handles=handles, loc="upper left", handletextpad=0.3, borderaxespad=0.2)
        save(figure, path)


def errors(predictions: Iterable[float]) -> tuple[float, float]:
    """Median and 90% quantile of the absolute logarithm of predicted over recorded, as factors."""
    median, most = np.exp(np.quantile(np.abs(np.log(list(predictions))), [0.5, 0.9]))
    return float(median), float(most)


ATTACKED = ("digits-mart", "digits-te-", "cifar10-small-")
"""Runs by which a model that forgets the attack is told from one that does not."""


def check(runs: Sequence[Observed]) -> None:
    """Hold the model against runs: those that nothing was fitted to are predicted, and not without the attack.

    Raises:
        AssertionError: it does not hold.
    """
    others = held_out(runs)
    median, most = errors(ratios(others))
    assert median < 1.15, median
    assert most < 1.35, most
    evaluated = [(predicted(run.evaluation), run.evaluation_seconds) for run in others if run.evaluation_seconds]
    assert errors(guess / seconds for guess, seconds in evaluated)[0] < 1.3
    attacked = [run for run in others if run.name.startswith(ATTACKED)]
    forgetful = [replace(run, work=work_of(Run.open(RUNS / run.name)).parts["update"]) for run in attacked]
    assert errors(ratios(attacked))[1] < 1.4
    assert errors(ratios(forgetful))[0] > 3
    assert np.allclose(constants(runs), (HARDWARE[PRECISE].rate("fp32"), HARDWARE[PRECISE].op_seconds), rtol=0.005)


def check_all() -> None:
    """Hold the model against every run, and what page and README say of them.

    Raises:
        AssertionError: it does not hold.

    Cost: minutes.
    """
    check(observed())
    assert len(held_out()) > 200
    assert sum(map(is_fitted, observed())) == 6
    assert sum(run.name.startswith(ATTACKED) for run in held_out()) > 10
    assert PAGE.read_text(encoding="utf-8") == render(), "run `python docs/draw_scaling.py`"
    readme = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    words = f"{within(1.25)} of {len(held_out())} held-out runs are predicted within a factor of 1.25"
    assert words in readme, words


def main(arguments: list[str]) -> None:
    """Check, write the page and, unless told otherwise, the picture."""
    if "--check" in arguments:
        check_all()
        return
    check(observed())
    if "--text" not in arguments:
        draw(PICTURE)
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
