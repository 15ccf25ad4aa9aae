"""The folders that are damaged: a run with everything that one can have, an imported one, a monitored one, a sweep."""

import json

from faults.running import command
from overfit_lab.config import to_dict
from overfit_lab.monitor.monitor import Monitor
from tiny import METRICS, tiny_config

BASES = ("run", "imported", "monitored", "sweep")


def make_bases(place):
    """Folders by name below a place; some ten seconds."""
    place.mkdir(parents=True, exist_ok=True)
    made = {name: place / name for name in BASES}
    for name, make in (("run", _run), ("imported", _imported), ("monitored", _monitored), ("sweep", _sweep)):
        if not made[name].exists():
            make(place, made[name])
    return made


def _config(**changes):
    attack = {"eps": 0.1, "step_size": 0.1, "n_steps": 1}
    evaluation = {"n_steps": 1, "chunk": 64, "n_train": 32}
    probes = {"every": 2, "metrics": METRICS, "n": 24, "options": {"hessian": {"max_probes": 2, "top_k": 0}}}
    return tiny_config(epochs=4, attack=attack, evaluation=evaluation, probes=probes, **changes)


def _do(*arguments):
    outcome = command(arguments)
    assert outcome.status == 0, (arguments, outcome.out, outcome.err)


def _run(place, folder):
    from overfit_lab.training.run import train_run

    config = _config(labels="te", regularizers=["ema"])
    train_run(config, folder, device="cpu", on_note=lambda text: None)
    (folder / "sinks.json").write_text('{"tensorboard": 4}\n')
    _do("evaluate", folder, "--n", "16", "--steps", "1")
    _do("check", folder, "--n", "16", "--only", "more-steps,deterministic", "--queries", "2")
    _do("probe", folder, "--metric", "calibration", "--checkpoint", "1", "--budget", "60s")
    _do("probe", folder, "--metric", "iiw", "--prior", "held-out", "--set", "iiw.prior_epochs=1")


def _imported(place, folder):
    rows = [
        {"epoch": e, "lr": 0.1 if e < 9 else 0.01, "train_acc": 0.5 + e / 60, "test_acc": 0.6 + e / 99,
         "train_robust_acc": 0.3 + e / 40, "test_robust_acc": 0.4 - abs(e - 9) / 90}
        for e in range(1, 17)
    ]  # fmt: skip
    log = place / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _do("import", log, "--out", place / "imports")
    (run,) = [path for path in (place / "imports").iterdir() if path.is_dir()]
    run.rename(folder)


def _monitored(place, folder):
    from monitor import loops

    train, test = loops.arrays()
    model = loops.stranger()
    monitor = Monitor(
        model, train, test=test, folder=folder, probes=["calibration", "confidence"], n_epochs=loops.EPOCHS
    )
    loops.plain_loop(model, train, monitor)
    monitor.close()


def _sweep(place, folder):
    """As `sweep` leaves it, but for processes of their own."""
    from overfit_lab.config import parse_config
    from overfit_lab.sweeps.beat import beat_path, claim, release
    from overfit_lab.sweeps.cells import plan
    from overfit_lab.sweeps.manifest import write_manifest
    from overfit_lab.sweeps.spec import parse_spec
    from overfit_lab.sweeps.work import log_path
    from overfit_lab.training.run import train_run

    base = to_dict(_config(labels="hard", schedule={"name": "constant"}))
    grid = {"attack.eps": [0.05, 0.1]}
    manifest = plan(parse_spec({"base": base, "grid": grid, "set": {"epochs": 2}, "device": "cpu"}, "sweep"), place)
    folder.mkdir()
    write_manifest(folder, manifest)
    for cell in manifest.cells:
        beat = claim(beat_path(folder / cell.folder))
        train_run(parse_config(cell.config), folder / cell.folder, device="cpu", on_note=lambda text: None)
        log_path(folder / cell.folder).parent.mkdir(exist_ok=True)
        log_path(folder / cell.folder).write_text("as a process prints it\n")
        release(beat_path(folder / cell.folder), beat.token, "completed")
