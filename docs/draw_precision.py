"""What bfloat16 changes: runs trained in both precisions, and attacks made in both on one model, as page and picture.

    python docs/draw_precision.py             # page and picture from precision.json and runs/reference/precision-*
    python docs/draw_precision.py --check     # whether the page is that
    python docs/draw_precision.py --run       # the attacks anew, on the checkpoints that those runs left: some minutes

The runs are those of `python runs/reference/make.py precision-`; checkpoints are not kept with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from overfit_lab.evaluation.attackers import AttackOptions, make_attacker
from overfit_lab.evaluation.run import evaluate, take_samples
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records.environment import hardware, now, versions
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import summarise_run
from overfit_lab.seeds import derive_generator
from overfit_lab.training.subjects import at_checkpoints, open_run
from overfit_lab.types import to_float
from overfit_lab.views.figures.style import (
    BLUE,
    VERMILLION,
    Look,
    epoch_axis,
    new_figure,
    percent_axis,
    save,
    style,
)
from overfit_lab.views.figures.style import (
    PAGE as WIDTH,
)

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "reference"
NUMBERS, PAGE, PICTURE = HERE / "precision.json", HERE / "precision.md", HERE / "images" / "precision.png"
BEGIN, END = "<!-- from precision.json and the records -->", "<!-- to here -->"
SETTINGS = {"digits": "digits, 30% of the labels flipped, MLP", "cifar10-small": "2,000 CIFAR-10 images, PreAct-ResNet"}
PRECISIONS = ("fp32", "bf16")
SEEDS = (0, 1, 2)
LOOKS = {"fp32": Look(BLUE, "-", "o"), "bf16": Look(VERMILLION, (0, (4, 1.5)), "s")}
STEPS = (None, 20)
"""Attacks that are made in both precisions: the run's own, and one as long as evaluation's."""
CHUNK = 250


def crafted(name: str) -> dict[str, Any]:
    """Test accuracy of a run's checkpoints, computed in fp32, on images that an attack made in each precision.

    Both attacks begin at the same starts.
    """
    folder = RUNS / name
    session = open_run(folder, device="cpu")
    rows = []
    for snapshot in at_checkpoints(session, folder, "all"):
        rows += [_row(snapshot, session.config, steps) for steps in STEPS]
        print(name, rows[-1], flush=True)
    return {"run": name, "rows": rows}


def _row(snapshot: Snapshot, config: Any, steps: int | None) -> dict[str, Any]:
    n_steps = config.attack.n_steps if steps is None else steps
    attacker = make_attacker("pgd", config, AttackOptions(n_steps=n_steps))
    (stage,) = attacker.stages
    samples = take_samples(snapshot)
    right: dict[str, list[torch.Tensor]] = {precision: [] for precision in PRECISIONS}
    snapshot.model.eval()
    for i, (x, y) in enumerate(zip(samples.x.split(CHUNK), samples.y.split(CHUNK), strict=True)):
        images = to_float(x)
        for precision in PRECISIONS:
            generator = derive_generator(snapshot.seed, "crafted", i, device=images.device)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                found = stage.attack(snapshot.model, images, stage.loss(y), generator=generator)
            with torch.no_grad():
                right[precision].append(snapshot.model(found).argmax(dim=1) == y)
    one, two = (torch.cat(right[precision]) for precision in PRECISIONS)
    return {
        "epoch": snapshot.epoch,
        "steps": n_steps,
        "n": len(one),
        "right_fp32": int(one.sum()),
        "right_bf16": int(two.sum()),
        "fooled_by_fp32_alone": int((two & ~one).sum()),
        "fooled_by_bf16_alone": int((one & ~two).sum()),
    }


def apgd(name: str) -> dict[str, Any]:
    """Right answers of a run's final model under APGD-CE in fp32, on the test samples."""
    folder = RUNS / name
    session = open_run(folder, device="cpu")
    (snapshot,) = at_checkpoints(session, folder, "final")
    outcome = evaluate(snapshot, make_attacker("apgd-ce", session.config))
    right = int((outcome.prediction == outcome.y).sum())
    print(name, outcome.label, right, flush=True)
    return {"attack": outcome.label, "epoch": snapshot.epoch, "n": len(outcome.y), "right": right}


def folder_of(setting: str, precision: str, seed: int) -> Path:
    """The folder of one run."""
    return RUNS / f"precision-{setting}-{precision}-seed{seed}"


def runs_of(setting: str, precision: str) -> list[Run]:
    """The runs of all seeds."""
    return [Run.open(folder_of(setting, precision, seed)) for seed in SEEDS]


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def accuracies() -> list[str]:
    """Lines of the table of accuracies: mean of the seeds, and the lowest and highest of them."""
    columns = {
        "robust_best": "robust best %",
        "robust_final": "robust final %",
        "robust_diff": "diff",
        "robust_train_final": "robust train final %",
        "clean_final": "clean final %",
    }
    lines = [f"| | trained in | {' | '.join(columns.values())} |", "| --- " * (2 + len(columns)) + "|"]
    for setting, title in SETTINGS.items():
        for precision in PRECISIONS:
            rows = [summarise_run(run) for run in runs_of(setting, precision)]
            cells = [_spread([row[column] for row in rows]) for column in columns]
            lines.append(f"| {title} | {precision} | {' | '.join(cells)} |")
    return lines


def finals(run: Run) -> dict[tuple[str, str, str, str], float]:
    """Every number that the run's probes measured at its end: by probe, field, split and inputs."""
    records = run.records
    rows = records[(records["epoch"] == run.config.epochs) & ~records["probe"].isin(("training", "evaluation"))]
    rows = rows[~rows["field"].str.startswith("seconds")].dropna(subset=["value"])
    keys = rows[["probe", "field", "split", "inputs"]].astype(str).itertuples(index=False, name=None)
    return dict(zip(keys, rows["value"].astype(float), strict=True))


def compared(setting: str) -> pd.DataFrame:
    """Each number of each probe at the end: means over the seeds in both precisions, and their spreads.

    ``apart`` is the difference of the means over the spread, highest minus lowest, of the seeds trained in fp32.
    """
    ends = {precision: [finals(run) for run in runs_of(setting, precision)] for precision in PRECISIONS}
    rows = []
    for key in ends["fp32"][0]:
        values = {p: [end[key] for end in ends[p] if key in end] for p in PRECISIONS}
        if min(map(len, values.values())) < len(SEEDS):
            continue
        means = {p: float(np.mean(values[p])) for p in PRECISIONS}
        spread = max(values["fp32"]) - min(values["fp32"])
        difference = means["bf16"] - means["fp32"]
        overlap = min(values["fp32"]) <= max(values["bf16"]) and min(values["bf16"]) <= max(values["fp32"])
        rows.append((*key, means["fp32"], means["bf16"], spread, difference, overlap))
    names = ["probe", "field", "split", "inputs", "fp32", "bf16", "spread", "difference", "overlap"]
    frame = pd.DataFrame(rows, columns=names)
    frame["apart"] = (frame["difference"].abs() / frame["spread"]).where(frame["spread"] > 0, 0.0)
    return frame


def probes(setting: str) -> list[str]:
    """Lines on what the probes measured at the end."""
    frame = compared(setting)
    within = frame[frame["overlap"]]
    beyond = frame[~frame["overlap"]].sort_values("apart", ascending=False)
    lines = [
        f"{SETTINGS[setting]}: of {len(frame)} numbers of {frame['probe'].nunique()} probes the seeds' ranges of both "
        f"precisions overlap in {len(within)}. In the median the means are {frame['apart'].median():.2f} of the "
        "spread of the fp32 seeds apart.",
        "",
    ]
    if len(beyond):
        lines += ["| ranges that do not overlap | split, inputs | fp32 | bf16 |", "| --- | --- | --- | --- |"]
        for row in beyond.itertuples():
            lines.append(f"| {row.probe}: {row.field} | {row.split}, {row.inputs} | {row.fp32:.4g} | {row.bf16:.4g} |")
        lines.append("")
    return lines


def attacks(numbers: dict[str, Any]) -> list[str]:
    """Lines of the table of attacks in both precisions on the same models."""
    lines = [
        "| model, trained in fp32 | attack | checkpoints | images | right, made in fp32 | right, made in bf16 | "
        "fooled by fp32's alone | by bf16's alone |",
        "| --- " * 8 + "|",
    ]
    frame = pd.DataFrame([{"run": one["run"], **row} for one in numbers["crafted"] for row in one["rows"]])
    frame["setting"] = [next(key for key in SETTINGS if f"-{key}-" in run) for run in frame["run"]]
    for (setting, steps), part in frame.groupby(["setting", "steps"], sort=False):
        total = part["n"].sum()
        shares = [f"{100 * part[f'right_{p}'].sum() / total:.2f}%" for p in PRECISIONS]
        alone = [f"{part[f'fooled_by_{p}_alone'].sum()}" for p in PRECISIONS]
        lines.append(
            f"| {SETTINGS[str(setting)]} | PGD-{steps} | {len(part)} | {total:,} | {' | '.join([*shares, *alone])} |"
        )
    lines += ["", "| final models, three seeds | trained in fp32 | trained in bf16 |", "| --- | --- | --- |"]
    ends = {one["run"]: one for one in numbers["apgd"]}
    for setting, title in SETTINGS.items():
        cells = []
        for precision in PRECISIONS:
            ones = [ends[folder_of(setting, precision, seed).name] for seed in SEEDS]
            cells.append(_spread([100 * one["right"] / one["n"] for one in ones]))
        lines.append(f"| {title}: right under {ones[0]['attack']} in fp32, % | {' | '.join(cells)} |")
    return lines


def page(numbers: dict[str, Any]) -> str:
    """The part of the page between its marks."""
    made = numbers["made_with"]
    lines = [
        f"Trained and attacked on {made['hardware']['cpu']} ({made['hardware'].get('instructions', '')}), "
        f"torch {made['versions']['torch']}, {made['date'][:10]}; three seeds, mean (lowest to highest).",
        "",
        *accuracies(),
        "",
        *(line for setting in SETTINGS for line in probes(setting)),
        *attacks(numbers),
    ]
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> None:
    """Robust accuracy over epochs of all runs, and what bf16's attacks leave right beyond fp32's, by checkpoint."""
    caption = (
        "(a), (b): test accuracy under the evaluation's PGD, a line a seed; decays dotted. (c): test accuracy of "
        "models trained in fp32 on images that PGD made in bf16, minus that on those it made in fp32 from the same "
        "starts, a line a seed"
    )
    with style():
        figure = new_figure(WIDTH, 2.7, caption)
        panels = figure.subplots(1, 3)
        for letter, axes, setting in zip("ab", panels, SETTINGS, strict=False):
            for precision, look in LOOKS.items():
                for seed, run in zip(SEEDS, runs_of(setting, precision), strict=True):
                    curve = run.series("evaluation", "acc_adv", "test", "adversarial")
                    label = f"trained in {precision}" if seed == SEEDS[0] else None
                    axes.plot(curve["epoch"], curve["value"], linewidth=0.9, label=label, **look.line())
            epoch_axis(axes, run.config.epochs, run.info["decay_epochs"])
            percent_axis(axes, "robust test accuracy")
            axes.set_title(f"({letter}) {setting}")
        _attacks_panel(panels[-1], numbers)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    save(figure, PICTURE)


def _attacks_panel(axes: Any, numbers: dict[str, Any]) -> None:
    steps = max(row["steps"] for one in numbers["crafted"] for row in one["rows"])
    for one in numbers["crafted"]:
        rows = [row for row in one["rows"] if row["steps"] == steps]
        setting = next(key for key in SETTINGS if f"-{key}-" in one["run"])
        gaps = [100 * (row["right_bf16"] - row["right_fp32"]) / row["n"] for row in rows]
        last = max(row["epoch"] for row in rows)
        look = {"digits": ("#000000", "^", "-"), "cifar10-small": ("#7F7F7F", "D", ":")}[setting]
        label = setting if one["run"].endswith("seed0") else None
        progress = [100 * row["epoch"] / last for row in rows]
        axes.plot(
            progress, gaps, color=look[0], marker=look[1], linestyle=look[2], linewidth=0.8, markersize=3, label=label
        )
    axes.axhline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    axes.set_ylim(-1, 1)
    axes.set_xlabel("training done (%)")
    axes.set_ylabel("bf16's minus fp32's (points)")
    axes.set_title(f"(c) PGD-{steps} in both")
    axes.legend(loc="lower left")


def main() -> int:
    """Draw, measure or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.run:
        torch.set_num_threads(1)
        names = [folder_of(s, p, seed).name for s in SETTINGS for p in PRECISIONS for seed in SEEDS]
        numbers = {
            "made_with": {"date": now(), "hardware": hardware(torch.device("cpu")), "versions": versions()},
            "crafted": [crafted(name) for name in names if "-fp32-" in name],
            "apgd": [{"run": name, **apgd(name)} for name in names],
        }
        NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")
    numbers = json.loads(NUMBERS.read_text())
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    made = f"{before}{BEGIN}\n{page(numbers)}\n{END}{after}"
    if asked.check:
        return int(made != text)
    PAGE.write_text(made)
    draw(numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
