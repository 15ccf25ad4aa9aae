"""The folders that are damaged: a run with everything that one can have, an imported one, a monitored one, a sweep."""

import contextlib
import json
import sqlite3

from faults.running import command
from overfit_lab.config import to_dict
from overfit_lab.monitor.monitor import Monitor
from tiny import METRICS, tiny_config

BASES = ("run", "imported", "monitored", "sweep", "logs")


def make_bases(place):
    """Folders by name below a place; some ten seconds."""
    place.mkdir(parents=True, exist_ok=True)
    made = {name: place / name for name in BASES}
    for name, make in (
        ("run", _run),
        ("imported", _imported),
        ("monitored", _monitored),
        ("sweep", _sweep),
        ("logs", _logs),
    ):
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


def _curves():
    return [
        {"epoch": e, "lr": 0.1 if e < 9 else 0.01, "train_acc": 0.5 + e / 60, "test_acc": 0.6 + e / 99,
         "train_robust_acc": 0.3 + e / 40, "test_robust_acc": 0.4 - abs(e - 9) / 90}
        for e in range(1, 17)
    ]  # fmt: skip


def _imported(place, folder):
    log = place / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in _curves()))
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


def _logs(place, folder):
    """Logs of other loops in some of the formats that are read."""
    rows = _curves()
    folder.mkdir()
    (folder / "log.csv").write_text(
        "\n".join(",".join(map(str, line)) for line in [rows[0], *(row.values() for row in rows)])
    )
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "log.json").write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    run = folder / "mlruns" / "0" / "abc"
    (run / "metrics").mkdir(parents=True)
    (run / "params").mkdir()
    (run / "meta.yaml").write_text("run_id: abc\nrun_name: mine\nstatus: 3\n")
    (folder / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    (run / "params" / "lr").write_text("0.1")
    for key in rows[0]:
        (run / "metrics" / key).write_text(
            "".join(f"17000000{row['epoch']} {row[key]} {row['epoch']}\n" for row in rows)
        )
    header = "Epoch Train|Time Test|Time LR Train|Loss Train|Acc Train|Robust|Loss Train|Robust|Acc Test|Loss Test|Acc"
    header = " \t ".join([*header.split(), "Test|Robust|Loss", "Test|Robust|Acc"]).replace("|", " ")
    lines, printed = ["Namespace(epochs=16, seed=0)", header], []
    for row in rows:
        train = (row["train_acc"], 1.3, row["train_robust_acc"])
        numbers = (
            row["epoch"] - 1,
            100.0,
            20.0,
            row["lr"],
            1.2,
            *train,
            1.1,
            row["test_acc"],
            1.5,
            row["test_robust_acc"],
        )
        lines.append(
            " \t ".join(f"{number:g}" if number == row["epoch"] - 1 else f"{number:.4f}" for number in numbers)
        )
        printed += [f"Train Epoch: {row['epoch']} [0/60000 (0%)]\tLoss: 0.700000", "=" * 64]
        printed += ["Training: Average loss: 0.6000, Accuracy: 30000/60000 (50%)"]
        printed += ["Test: Average loss: 0.5000, Accuracy: 8000/10000 (80%)"]
        right = round(10000 * row["test_robust_acc"])
        printed += [f"Test: Average Adv loss: 0.900000, Robust Accuracy: {right}/10000 (50%)"]
    (folder / "output.log").write_text("".join(f"[2020/02/01 11:04:19] - {line}\n" for line in lines))
    (folder / "trades.log").write_text("\n".join(printed) + "\n")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("CREATE TABLE runs (run_uuid, name, start_time)")
        database.execute("CREATE TABLE params (run_uuid, key, value)")
        database.execute("CREATE TABLE metrics (run_uuid, key, value, step, timestamp, is_nan)")
        database.execute("INSERT INTO runs VALUES ('id', 'mine', 1)")
        for row in rows:
            number = ("id", "test_robust_acc", row["test_robust_acc"], row["epoch"], row["epoch"], 0)
            database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", number)
        database.commit()
