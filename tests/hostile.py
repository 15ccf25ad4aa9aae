"""Names that do something where they are used as they are, and a run folder that has them everywhere."""

import json

import numpy as np
import yaml

from overfit_lab.evaluation.outcome import Outcome
from overfit_lab.records.reader import Run
from overfit_lab.records.writer import RunWriter
from run_factory import make_run

TERMINAL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066\u200b\u2028\ud83d\r\n"
RICH = "[red]x[/] [/bold] :skull:"
LATEX = r"50% of a_b & #1 $x^2$ ~ \input{x} \end{tabular} {"
MARKDOWN = "a | b `c` ``<b>` [d](https://e.f) ![](http://g.h) **i**"
HTML = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>&amp;\"'"
CSV = '=HYPERLINK("http://x","y")'
FORMULAS = ("=1+1", "+1-a", "-a", "@sum", "\t=1", "\r=1", " =1")
MATH = r"$\notacommand$ $\frac{$"
GLYPHS = "\u4e2d\U0001f600\u0627"
EVERYTHING = CSV + TERMINAL + RICH + LATEX + MARKDOWN + HTML + MATH + GLYPHS
KINDS = (TERMINAL, RICH, LATEX, MARKDOWN, HTML, CSV, *FORMULAS, MATH, GLYPHS, EVERYTHING)


def folder_name(text):
    """A text as the name of a folder: everything but slashes and bytes of zero is one."""
    return text.replace("/", "\u2215").replace("\ud83d", "")[:90]


def hostile_run(folder, text, seed=0, *, monitored=False):
    """A run with a text in every field that a folder can hold, and in its name; returns the run."""
    run = make_run(folder / f"{folder_name(text)}-seed{seed}", seed=seed)
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    encoded = text.replace("\ud83d", "")  # files of text do not hold half a character
    config["data"]["name"] = f"imagefolder:{encoded}"
    for part in ("model", "labels"):
        config[part]["note"] = config[part][encoded] = encoded
    if monitored:
        config["monitored"] = {"method": encoded, "tags": [encoded], "config": {encoded: encoded}}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    info = json.loads((run.folder / "run.json").read_text())
    info |= dict.fromkeys(
        ("name", "status", "command", "git_revision", "started", "failure", "reason", "host"), encoded
    )
    info |= {"versions": {encoded: encoded}, "hardware": {"cpu": encoded, encoded: encoded}, "doubts": [encoded]}
    (run.folder / "run.json").write_text(json.dumps(info))
    records = run.folder / "records.jsonl"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    last = next(row for row in reversed(rows) if row["probe"] == "evaluation")
    strange = dict.fromkeys(("probe", "field", "split", "inputs", "labels"), encoded)
    fields = (f"acc_adv/{encoded}", f"acc_after/{encoded}:{encoded}", f"interval_low/{encoded}", f"layer/{encoded}")
    rows += [{**last, **strange}, *({**last, key: value} for key, value in strange.items())]
    rows += [{**last, "field": field} for field in fields]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _outcomes(run, encoded)
    (run.folder / "budget.json").write_text(json.dumps([{"command": encoded, encoded: encoded}]))
    (run.folder / "sinks.json").write_text(json.dumps({encoded: 1}))
    with RunWriter.reopen(run.folder) as writer:
        arrays = {f"curve-{encoded}": np.ones((2, 5)), f"evidence-{encoded}": np.array([0.1, 0.05, 0.2, 0.02, 200])}
        writer.save_arrays(
            "masking", 20, {key.replace("/", "\u2215").replace("\0", ""): a for key, a in arrays.items()}
        )
    return Run.open(run.folder)


def _outcomes(run, text):
    """Outcomes of an attack of that name at two epochs."""
    (run.folder / "evaluations").mkdir()
    n = np.zeros(20, np.int64)
    for epoch in (12, 20):
        broken = np.where(np.arange(20) < epoch, 0, -1).astype(np.int16)
        outcome = Outcome(
            text, np.arange(20), n, n, n, broken, np.zeros((20, 10), np.float32), n > 0, (text, text), {text: text}, 2
        )
        for name in ("pgd-20", f"pgd-{folder_name(text)}"):
            outcome.save(run.folder / "evaluations" / f"{name}-test-20-{epoch:04d}.npz")
