"""What is hit by faults: each command, as a user gives it, on a run that takes a fraction of a second."""

import json
import re
from pathlib import Path

import numpy as np

from faults.trials import Scenario

CONFIG = """
name: tiny
epochs: 3
batch_size: 32
data: {name: digits, n_train: 96, n_val: 0, n_test: 48, noise: {kind: symmetric-flip, rate: 0.3}}
model: {name: mlp, hidden: 8}
attack: {eps: 0.1, step_size: 0.05, n_steps: 1}
labels: {name: sglr}
schedule: {name: piecewise, milestones: [2]}
evaluation: {n_steps: 1}
probes: {every: 2, metrics: [calibration, confidence], n: 32}
checkpoint: {every: 2, steps: 2}
"""
TRAIN = ("train", "tiny.yaml", "--out", "run")
LOG = "epoch,train robust acc,test robust acc,lr\n" + "".join(f"{e},{40 + e},{30 + e % 5},0.1\n" for e in range(1, 13))
TIMES = {"seconds", "wall_seconds", "started", "ended", "command", "machine", "made", "imported", "git_revision"}
"""What may differ between two runs of a command."""


def write_config():
    """The files that a user has."""
    Path("tiny.yaml").write_text(CONFIG)
    Path("log.csv").write_text(LOG)
    Path("out").mkdir(exist_ok=True)
    return 0


def begin_run():
    """A run that was stopped in its second epoch."""
    from overfit_lab.config import load_config
    from overfit_lab.training.events import EventBus, StepEnded
    from overfit_lab.training.run import train_run

    def stop(event):
        if event.clock.step == 4:
            raise KeyboardInterrupt

    bus = EventBus()
    bus.on(StepEnded, stop)
    assert train_run(load_config(Path("tiny.yaml")), Path("run"), device="cpu", bus=bus) == "interrupted"
    return 0


def monitor_run(resume=False):
    """A loop of the user's own with a monitor and a checkpoint of its own."""
    import torch

    from overfit_lab import PGD, Monitor, ThreatModel
    from overfit_lab.errors import FailedError, OverfitLabError, of_file
    from overfit_lab.records.layout import is_run

    torch.manual_seed(0)
    x, y = torch.rand(64, 1, 8, 8), torch.arange(64) % 4
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attack = PGD(ThreatModel("linf", 0.1), step_size=0.05, n_steps=1)
    state = torch.load("loop.pt", weights_only=True) if Path("loop.pt").is_file() else None
    try:
        monitor = Monitor(
            model, train=(x, y), test=(x.flip(0), y.flip(0)), attack=attack, probes=["calibration"], n=32,
            folder="run", resume=state is not None or is_run(Path("run")), strict=True, name="loop", seed=0,
        )  # fmt: skip
        if state is not None:
            model.load_state_dict(state["model"])
            monitor.load_state_dict(state["monitor"])
        for epoch in range(state["epoch"] if state else 0, 3):
            logits = model(x)
            monitor.batch(torch.arange(len(y)), logits, y)
            loss = torch.nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            monitor.gradients_ready(loss)
            optimizer.step()
            monitor.epoch_ended()
            content = {"model": model.state_dict(), "monitor": monitor.state_dict(), "epoch": epoch + 1}
            torch.save(content, "loop.pt.new")
            Path("loop.pt.new").replace("loop.pt")
        monitor.close()
    except (OSError, OverfitLabError, FailedError) as error:
        import sys

        print("overfit-lab:", of_file(error) if isinstance(error, OSError) else error, file=sys.stderr)
        return 1
    return 0


def run_state(name="run"):
    """What a run folder holds, but for times."""

    def state(folder):
        run = folder / name
        return {str(p.relative_to(run)): _content(p) for p in sorted(run.rglob("*")) if p.is_file() and _counts(p)}

    return state


def _counts(path):
    hidden = path.name.startswith(".") or path.parent.name in ("beats", "logs")  # signs of life, and what was said
    return not hidden and path.name not in ("midway.safetensors", "masking.png", "loop.pt")


def _content(path):
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key].tobytes() if key != "notes" else _plain(str(arrays[key])) for key in arrays.files}
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            return {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
    if path.suffix == ".jsonl":
        rows = [_plain(line) for line in path.read_text().splitlines()]
        # Of two records of one number the later one stands: a loop of the user's own may measure an epoch again.
        return list(dict.fromkeys(row for row in rows if '"field": "seconds' not in row))
    if path.suffix == ".json":
        return _plain(path.read_text())
    if path.suffix in (".html", ".svg"):
        return re.sub(r"\d\d:\d\d(:\d\d)?|\d+\.\d+ s\b", "", path.read_text())
    if path.suffix in (".png", ".log"):
        return ""
    return path.read_bytes()


def _plain(text):
    return json.dumps(_without_times(json.loads(text)), sort_keys=True)


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in TIMES and not k.startswith("failed")}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def train_again(folder):
    """What a user types after a training that was hit: the same, with --resume where there is a run."""
    return [TRAIN + (("--resume",) if (folder / "run" / "run.json").is_file() else ())]


def same(*commands):
    """The same commands once more."""
    return lambda folder: commands


def scenario(name, *act, before=(TRAIN,), again=None, state=None, reads=()):
    """A scenario on the folder of :func:`write_config`."""
    return Scenario(name, act, again or same(*act), state or run_state(), ("write_config", *before), reads)


COMPARE = ("compare", "run")
PROBE = ("probe", "run", "--metric", "calibration,gradient-norm", "--checkpoint", "all", "--n", "32")
EVALUATE = ("evaluate", "run", "--attack", "pgd", "--checkpoint", "2,final", "--n", "24")
CHECK = ("check", "run", "--only", "deterministic,gradient-exists", "--n", "16")
GRID = ("train", "tiny.yaml", "--grid", "labels.name=hard,sglr", "--jobs", "1", "--out", "grid")
IMPORT = ("import", "log.csv", "--out", "logs", "--n-test", "100")
SCENARIOS = {
    s.name: s
    for s in (
        scenario("train", TRAIN, before=(), again=train_again),
        scenario("resume", (*TRAIN, "--resume"), before=("begin_run",), again=train_again, reads=(COMPARE,)),
        scenario("probe", PROBE, reads=(COMPARE,)),
        scenario("evaluate", EVALUATE, reads=(COMPARE,)),
        scenario("check", CHECK, reads=(COMPARE,)),
        scenario(
            "sweep", GRID, before=(), state=run_state("grid"),
            again=lambda folder: [(*GRID, *(["--resume"] if (folder / "grid" / "sweep.json").is_file() else []))],
        ),
        scenario("report", ("report", "run", "--out", "out/page.html"), state=run_state("out")),
        scenario("figure", ("figure", "onset", "run", "--out", "out/a.png"), state=run_state("out")),
        scenario("table", ("table", "run", "--out", "out/a.tex"), state=run_state("out")),
        scenario("diagnose", ("diagnose", "run")),
        scenario("watch", ("watch", "run", "--once")),
        scenario("monitor", "monitor_run", before=()),
        scenario("import", IMPORT, before=(), state=run_state("logs")),
    )
}  # fmt: skip
