"""Numbers over epochs, with their values under the pointer."""

from __future__ import annotations

from typing import NamedTuple

from overfit_lab.records.summary import probe_name
from overfit_lab.views.figures.series import curve, decays
from overfit_lab.views.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, reach_of
from overfit_lab.views.report.looks import PageLook, page_looks
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section


class Number(NamedTuple):
    """A recorded number, how it is drawn, and the name of the axis that it shares with others."""

    name: str
    title: str
    probe: str
    field: str
    split: str | None
    inputs: str | None
    kind: str
    shares: str = ""


NUMBERS = (
    Number("robust-test", "Robust test accuracy", "evaluation", "acc_adv", "test", "adversarial", "percent", "robust"),
    Number(
        "robust-train", "Robust train accuracy", "evaluation", "acc_adv", "train", "adversarial", "percent", "robust"
    ),
    Number("clean-test", "Clean test accuracy", "evaluation", "acc_clean", "test", "clean", "percent", "clean"),
    Number("clean-train", "Clean train accuracy", "evaluation", "acc_clean", "train", "clean", "percent", "clean"),
    Number("gradient-norm", "Gradient norm, robust train", "gradient-norm", "full", "train", "adversarial", "number"),
    Number("iiw", "IIW (nats), robust train", "iiw", "iiw", "train", "adversarial", "log"),
    Number("ece-adv", "ECE, adversarial test", "calibration", "ece", "test", "adversarial", "number", "ece"),
    Number("ece-clean", "ECE, clean test", "calibration", "ece", "test", "clean", "number", "ece"),
    Number("hessian", "Hessian trace, robust train", "hessian", "trace", "train", "adversarial", "log"),
    Number("loss", "Training loss (nats)", "training", "loss", "train", None, "number"),
)


def build(material: Material) -> Part:
    """A chart for each recorded number, and the commands that record the others."""
    looks = page_looks([group.key for group in material.groups])
    charted = {number: _lines(material, number, looks) for number in NUMBERS}
    reaches = _reaches(charted)
    last = max((int(line.curve.epoch[-1]) for lines in charted.values() for line in lines), default=1)
    drops = tuple(decays([run for run in material.runs if len(run.records)]))
    charts = [
        Chart(number.name, number.title, number.kind, lines, drops, last, reaches.get(number.shares))
        for number, lines in charted.items()
        if lines
    ]
    drawn = {line.name for chart in charts for line in chart.lines}
    body = render(
        "curves.html",
        charts=charts,
        legend=[
            (g.title, look, len(g.runs)) for g, look in zip(material.groups, looks, strict=True) if g.title in drawn
        ],
        bands=any(line.curve.n_runs > 1 for chart in charts for line in chart.lines),
        missing=_missing(charted),
        frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )
    return Part(body, {chart.name: chart.data() for chart in charts})


def _lines(material: Material, number: Number, looks: list[PageLook]) -> tuple[Line, ...]:
    """The lines of one number, one a group that has it."""
    lines = []
    for group, look in zip(material.groups, looks, strict=True):
        measured = curve(group.runs, probe_name(number.probe, group.weights), number.field, number.split, number.inputs)
        if measured is not None:
            lines.append(Line(group.title, look, measured))
    return tuple(lines)


def _reaches(charted: dict[Number, tuple[Line, ...]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of the charts that have an axis in common."""
    names = {number.shares for number in charted if number.shares}
    together = {
        name: [ln for number, lines in charted.items() if number.shares == name for ln in lines] for name in names
    }
    return {name: reach_of(lines) for name, lines in together.items() if lines}


def _missing(charted: dict[Number, tuple[Line, ...]]) -> list[tuple[str, str]]:
    """Numbers that no run has, and the command that records them."""
    probes: dict[str, list[str]] = {}
    for number, lines in charted.items():
        if not lines:
            probes.setdefault(number.probe, []).append(number.title)
    commands = {"evaluation": "overfit-lab evaluate RUN --checkpoint all", "training": "overfit-lab train CONFIG"}
    default = "overfit-lab probe RUN --metric {} --checkpoint all"
    return [("; ".join(titles), commands.get(probe, default.format(probe))) for probe, titles in probes.items()]


REGISTER = {"curves": Section("Curves", 40, build)}
