"""Runs, a diagnosis and pages for the tests of the report."""

import json
from html.parser import HTMLParser

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.writer import RunWriter
from overfit_lab.views.diagnosis.finding import Diagnosis, Finding, Subject
from run_factory import make_run

IMG = "<img src=x onerror=window.hacked=1>"
END = "</script><script>window.hacked=1</script>"
HOSTILE = (IMG, END)
LABELS = ("hard", "smooth", "sglr")
MAP_EPOCHS = (10, 20)


def make_runs(folder):
    """Three methods, hard labels with two seeds; maps, diagrams and histograms at two epochs, other at each."""
    runs = [make_run(folder / f"{labels}-seed0", labels) for labels in LABELS]
    runs.append(make_run(folder / "hard-seed1", "hard", seed=1))
    for number, run in enumerate(runs):
        add_arrays(run.folder, number)
    return runs


def add_arrays(folder, seed=0):
    """Arrays of MAP_EPOCHS; the number of wrong predictions is the epoch, and so is the count of the first bin."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 10
    with RunWriter.reopen(folder) as writer:
        for epoch in MAP_EPOCHS:
            predicted = np.where(np.arange(60) < epoch, (labels + 1) % 10, labels)
            points = rng.normal(size=(60, 2)).astype(np.float32)
            maps = {"tsne-test-clean": points, "label-test-clean": labels, "pred-test-clean": predicted}
            writer.save_arrays("features", epoch, maps)
            bins = np.stack([np.linspace(0.03, 0.97, 15), np.linspace(0.0, 0.8, 15), np.full(15, 4.0)], 1)
            bins[0, 2] = epoch
            diagram = {"reliability-test-clean": bins, "reliability-test-adversarial": bins[:7]}
            writer.save_arrays("calibration", epoch, diagram)
            shares = {"label-prob-test-clean": rng.random(80), "label-prob-test-adversarial": rng.random(80) ** 3}
            writer.save_arrays("confidence", epoch, {k: v.astype(np.float32) for k, v in shares.items()})


def make_hostile(folder):
    """A run with HTML in every text that a stranger can write, and numbers that are not finite in its files."""
    options = {"name": "mlp", "note": END}
    run = make_run(folder / IMG, "hard", seed=3, model=options, data={"name": f"imagefolder:{END}"})
    path = run.folder / "run.json"
    info = json.loads(path.read_text())
    info |= {"command": END, "versions": {IMG: END}, "status": f"stopped {END}", "git_revision": IMG}
    info |= {"hardware": {"cpu": END}, "wall_seconds": float("nan")}
    path.write_text(json.dumps(info))
    records = run.folder / "records.jsonl"
    lines = records.read_text().splitlines()
    row = json.loads(lines[-1])
    broken = {"probe": "gradient-norm", "field": "full", "value": float("inf")}
    strange = [{**row, "probe": END, "field": IMG}, {**row, **broken}]
    records.write_text("\n".join([*lines, *map(json.dumps, strange)]) + "\n")
    add_arrays(run.folder)
    points = {"tsne-test-clean": np.full((4, 2), np.nan, np.float32), "label-test-clean": np.arange(4)}
    with RunWriter.reopen(run.folder) as writer:
        writer.save_arrays("features", 4, points)
    return type(run)(run.folder)


def make_diagnosis(runs, threshold=0.01):
    """One finding of each verdict about the first run, one about all."""
    first = runs[0].name
    everything = tuple(run.name for run in runs)
    findings = (
        Finding("onset", first, "yes", f"It overfits {IMG}.", {"epoch": 12.0}, "overview", (first,), f"Try {END}."),
        Finding("memorisation", first, "no", "Nothing is memorised.", {}, "no-such-run", ()),
        Finding("masked-gradients", first, "not enough evidence", "`overfit-lab check RUN` is due.", {}, "masking"),
        Finding("cure", "all runs", "yes", "sglr overfits least.", {"diff": float("nan")}, "fig2", everything),
    )
    return Diagnosis((Subject(first, (runs[0],)), Subject("all runs", tuple(runs))), findings)


def picture(runs):
    """One panel of a test.

    More of it.
    """
    figure = Figure(figsize=(2, 1))
    FigureCanvasAgg(figure)
    figure.subplots().plot([len(run.records) for run in runs])
    return figure


def need_probes(runs):
    """A panel of what every run must have."""
    for run in runs:
        if run.series("calibration", "ece").empty:
            raise RunFolderError(f"calibration: no ece in {run.name}; record it by `overfit-lab probe RUN`")
    return picture(runs)


def refuse(runs):
    """A panel that is never drawn."""
    raise RunFolderError(f"fig4: no {IMG} in these runs")


PICTURES = {"overview": picture, "fig2": picture, "masking": picture, "calibration": need_probes, "fig4": refuse}
"""In place of the figures, which take seconds to draw."""


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, the text of each kind of element, and its data."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.texts = {}
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def ids(self):
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]

    @property
    def whole(self):
        return "".join(part for parts in self.texts.values() for part in parts)
