"""Logs that tools and public loops write: by the tools themselves where they are packages, else to their format."""

import gzip
import json
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from logs import as_csv, curves

from overfit_lab.errors import ConfigError, MissingPackageError
from overfit_lab.importing import import_log
from overfit_lab.importing.files import recognise
from overfit_lab.importing.formats import tensorboard as tensorboard_format
from overfit_lab.importing.source import Source
from overfit_lab.records.reader import Run

TEST, TRAIN = ("evaluation", "acc_adv", "test", "adversarial"), ("evaluation", "acc_adv", "train", "adversarial")
CLEAN = ("evaluation", "acc_clean", "test", "clean")


def read(path, tmp_path, **options):
    said = []
    folders = import_log(path, out=tmp_path / "imported", say=said.append, **options)
    return [Run.open(folder) for folder in folders], "\n".join(said)


def numbers(run, *number):
    series = run.series(*(number or TEST))
    return dict(zip(series["epoch"].tolist(), series["value"].tolist(), strict=True))


def expected(rows, key="test_robust_acc"):
    return {row["epoch"]: pytest.approx(row[key]) for row in rows}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_of_tensorboards_writer(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    rows = curves(5)
    for name in ("a", "b"):
        with SummaryWriter(str(tmp_path / "tb" / name)) as writer:
            for row in rows:
                writer.add_scalar("test/robust_acc", row["test_robust_acc"], row["epoch"])
                writer.add_scalar("train/robust_acc", row["train_robust_acc"], row["epoch"])
                writer.add_scalar("lr", row["lr"], row["epoch"])
    with SummaryWriter(str(tmp_path / "tb" / "hparams")) as writer:
        writer.add_scalar("hparam/score", 0.5, 0)
    runs, said = read(tmp_path / "tb", tmp_path)
    assert "tensorboard: columns" in said
    assert "hparams is passed over" in said
    assert [run.name for run in runs] == ["a", "b"]
    assert numbers(runs[1]) == {row["epoch"]: pytest.approx(row["test_robust_acc"], abs=1e-6) for row in rows}
    (file,) = (tmp_path / "tb" / "a").iterdir()
    (run,), _ = read(file, tmp_path / "one")
    assert run.name == "a"


def test_our_own_mirror_comes_back(tmp_path):
    pytest.importorskip("tensorboard")
    from overfit_lab.records.records import Record
    from overfit_lab.records.sinks.base import Beginning
    from overfit_lab.records.sinks.tensorboard import TensorBoardSink

    record = Record(1, 10, "evaluation", "acc_adv", "test", "adversarial", "given", 0.5, None, 10, None)
    portion = Record(1, 10, "memorisation", "acc_given/corrupted", "train", "clean", "given", 0.25, None, 10, None)
    sink = TensorBoardSink(tmp_path / "mirror")
    sink.begin(Beginning("mine", "id", None, {}, 0))
    sink.records([record, portion])
    sink.end("completed")
    (run,), _ = read(tmp_path / "mirror", tmp_path, first_epoch=1)
    assert numbers(run) == {1: 0.5}
    assert numbers(run, "memorisation", "acc_given/corrupted", "train", "clean") == {1: 0.25}


def test_without_tensorboard_one_line_names_the_extra(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    file = write(tmp_path / "events.out.tfevents.1.host", "x")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=r"overfit-lab\[tensorboard\]"):
        tensorboard_format.read(Source(file))


def test_damaged_event_files_hold_no_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    file = write(tmp_path / "events.out.tfevents.1.host", "not events" * 20)
    with pytest.raises(ConfigError):
        read(file, tmp_path)


def test_metrics_of_lightnings_csv_logger(tmp_path):
    pytest.importorskip("lightning")
    from lightning.pytorch.loggers import CSVLogger

    rows = curves(4)
    logger = CSVLogger(str(tmp_path), name="lit", flush_logs_every_n_steps=1)
    for row in rows:
        step = 10 * row["epoch"] - 1
        logger.log_metrics({"lr-SGD": row["lr"]}, step=step - 5)
        logger.log_metrics({"train_robust_acc": row["train_robust_acc"], "epoch": row["epoch"] - 1}, step=step)
        logger.log_metrics({"val_robust_acc": row["test_robust_acc"], "epoch": row["epoch"] - 1}, step=step)
    logger.log_metrics({"test_robust_acc": 0.3, "epoch": 4}, step=40)
    logger.save()
    (run,), said = read(Path(logger.log_dir) / "metrics.csv", tmp_path)
    assert run.name == "lit-version_0"
    assert numbers(run, "evaluation", "acc_adv", "val", "adversarial") == expected(rows)
    assert numbers(run, *TRAIN) == expected(rows, "train_robust_acc")
    assert numbers(run, "training", "lr") == expected(rows, "lr")
    assert numbers(run) == {4: 0.3}
    assert "lightning: columns" in said
    assert "the test at the end is of the last epoch" in said


def test_a_fit_of_lightnings_trainer(tmp_path):
    lightning = pytest.importorskip("lightning")
    import torch
    from lightning.pytorch.loggers import CSVLogger

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 2)

        def training_step(self, batch, _):
            loss = self.net(batch[0]).square().mean()
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch, _):
            self.log("val_robust_acc", (self.current_epoch + 1) / 10)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 2)), 4)
    logger = CSVLogger(str(tmp_path), name="fit")
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=3, logger=logger, accelerator="cpu", num_sanity_val_steps=0, log_every_n_steps=1, **quiet
        )
        trainer.fit(Module(), loader, loader)
    (run,), _ = read(Path(logger.log_dir) / "metrics.csv", tmp_path)
    assert numbers(run, "evaluation", "acc_adv", "val", "adversarial") == {i: pytest.approx(i / 10) for i in (1, 2, 3)}
    assert list(numbers(run, "training", "loss")) == [1, 2, 3]


def test_a_local_folder_that_mlflow_wrote(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run(run_name="mine"):
        for row in curves(4):
            mlflow.log_metric("test/robust_acc", row["test_robust_acc"], step=row["epoch"])
    (run,), _ = read(tmp_path / "mlruns", tmp_path)
    assert run.name == "mine"
    assert numbers(run) == expected(curves(4))


def test_a_folder_in_mlflows_layout(tmp_path):
    """A file store of https://mlflow.org/docs/latest/ml/tracking/backend-stores: time, value and step a line."""
    run = tmp_path / "mlruns" / "0" / "0123456789abcdef"
    write(run / "meta.yaml", "run_id: 0123456789abcdef\nrun_name: mine/first\n")
    for name in ("test_robust_acc", "train/robust_acc"):
        key = name.replace("/", "_")
        lines = [f"170000000{row['epoch']} {row[key]} {row['epoch']}\n" for row in curves(4)]
        write(run / "metrics" / name, "".join(lines))
    write(run / "params" / "eps", "8/255")
    (read_run,), _ = read(tmp_path / "mlruns", tmp_path)
    assert read_run.info["name"] == "mine/first"
    assert read_run.name == "mine-first"
    assert numbers(read_run) == expected(curves(4))
    assert numbers(read_run, *TRAIN) == expected(curves(4), "train_robust_acc")
    assert read_run.info["log"]["settings"] == {"eps": "8/255"}
    write(run / "metrics" / "test_robust_acc", "170 many 1\n")
    with pytest.raises(ConfigError, match=r"test_robust_acc, line 1: expected time, value and step"):
        read(tmp_path / "mlruns", tmp_path)


def test_a_database_in_mlflows_layout(tmp_path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE TABLE runs (run_uuid, name, start_time)")
        database.execute("CREATE TABLE params (run_uuid, key, value)")
        database.execute("CREATE TABLE metrics (run_uuid, key, value, step, timestamp, is_nan)")
        database.execute("INSERT INTO runs VALUES ('id', 'mine', 1)")
        for row in curves(4):
            number = ("id", "test_robust_acc", row["test_robust_acc"], row["epoch"], row["epoch"], 0)
            database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", number)
        database.commit()
    (run,), _ = read(tmp_path / "mlflow.db", tmp_path)
    assert run.name == "mine"
    assert numbers(run) == expected(curves(4))
    write(tmp_path / "other.db", "SQLite format 3\0" + "x" * 100)
    with pytest.raises(ConfigError, match="is no database of MLflow's"):
        read(tmp_path / "other.db", tmp_path)


def test_what_mlflows_server_exports(tmp_path):
    history = [
        {"key": "test_robust_acc", "value": row["test_robust_acc"], "timestamp": 1, "step": row["epoch"]}
        for row in curves(4)
    ]
    (run,), _ = read(write(tmp_path / "mine.json", json.dumps({"metrics": history})), tmp_path)
    assert numbers(run) == expected(curves(4))


def test_charts_of_wandb_are_joined(tmp_path):
    rows = curves(5)
    for key, name in (("test_robust_acc", "test/robust_acc"), ("train_robust_acc", "train/robust_acc")):
        table = [
            {
                "Step": row["epoch"] - 1,
                **{
                    f"{run} - {name}{end}": row[key] if run == "hard" or row["epoch"] < 4 else ""
                    for run in ("hard", "sglr")
                    for end in ("", "__MIN", "__MAX")
                },
            }
            for row in rows
        ]
        write(tmp_path / f"{key}.csv", as_csv(table))
    (hard, sglr), said = read([tmp_path / "test_robust_acc.csv", tmp_path / "train_robust_acc.csv"], tmp_path)
    assert "wandb: columns" in said
    assert numbers(hard) == expected(rows)
    assert numbers(hard, *TRAIN) == expected(rows, "train_robust_acc")
    assert numbers(sglr) == expected(rows[:3])


def test_a_history_of_wandb(tmp_path):
    rows = [{"_step": 7 * i, "_runtime": 0.1, "_timestamp": 1.7e9, **row} for i, row in enumerate(curves(4))]
    for name, text in (("h.csv", as_csv(rows)), ("h.jsonl", "\n".join(map(json.dumps, rows)))):
        (run,), _ = read(write(tmp_path / name, text), tmp_path / name.replace(".", ""))
        assert numbers(run) == expected(curves(4))
        assert run.records["step"].isna().all()


RICE_HEADER = (
    "Epoch \t Train Time \t Test Time \t LR \t \t Train Loss \t Train Acc \t Train Robust Loss \t Train Robust Acc "
    "\t Test Loss \t Test Acc \t Test Robust Loss \t Test Robust Acc"
)


def rice_line(row, prefix="", **other):
    row = {**row, **other}
    cells = (
        f"{row['epoch'] - 1} \t 100.0 \t \t 20.0 \t \t {row['lr']:.4f} \t 1.2000 \t {row['train_acc']:.4f} \t 1.3000"
    )
    rest = f"{row['train_robust_acc']:.4f} \t \t 1.1000 \t {row['test_acc']:.4f} \t 1.5000 \t \t "
    return f"{prefix}{cells} \t \t {rest}{row['test_robust_acc']:.4f}"


def stamped(lines):
    return "".join(f"[2020/02/01 11:04:19] - {line}\n" for line in lines)


def test_the_log_of_rice_et_al(tmp_path):
    """The format of train_cifar.py in https://github.com/locuslab/robust_overfitting, and of AWP's loop for PGD-AT."""
    rows = curves(6)
    lines = ["Namespace(attack='pgd', epochs=6, lr_max=0.1, norm='l_inf', seed=0)", RICE_HEADER]
    for row in rows:
        lines += [rice_line(row), "validation 1.8000 \t 0.3500 \t 2.0000 \t 0.2600"]
    (run,), said = read(write(tmp_path / "mine" / "output.log", stamped(lines)), tmp_path)
    assert (run.name, "rice: columns" in said) == ("mine", True)
    assert numbers(run) == expected(rows)
    assert numbers(run, *TRAIN) == expected(rows, "train_robust_acc")
    assert numbers(run, "training", "seconds_training")[1] == 100.0
    assert set(numbers(run, "evaluation", "acc_adv", "val", "adversarial").values()) == {0.26}
    assert run.info["log"]["settings"]["norm"] == "l_inf"
    assert run.info["seed"] is None


def test_a_resumed_log_of_rice_et_al_and_its_evaluation_alone(tmp_path):
    rows = curves(6)
    later = [rice_line(row, test_robust_acc=0.2) for row in rows[3:]]
    alone = rice_line(rows[0], lr=-1.0)
    text = stamped(
        [RICE_HEADER, *map(rice_line, rows[:5]), "Resuming at epoch 3", RICE_HEADER, *later, alone, "best 0.5"]
    )
    (run,), said = read(write(tmp_path / "output.log", text[:-20]), tmp_path)
    assert numbers(run) == {**expected(rows[:3]), 4: 0.2, 5: 0.2, 6: 0.2}
    assert "goes back to epoch 4: epochs 4 to 5 of before are dropped" in said
    broken = stamped([RICE_HEADER, rice_line(rows[0]) + " \t 0.5", rice_line(rows[1])])
    with pytest.raises(ConfigError, match=r"line 2: has 13 numbers for 12 columns"):
        read(write(tmp_path / "output.log", broken), tmp_path)


def test_the_log_of_rebat_has_averaged_weights(tmp_path):
    """The format of train_cifar_wa.py in https://github.com/PKU-ML/ReBAT."""
    rows = curves(6)
    lines = [RICE_HEADER]
    for row in rows:
        lines.append(rice_line(row, "[] "))
        if row["epoch"] > 3:
            lines.append(rice_line(row, "[wa_] ", test_robust_acc=0.55))
            lines.append(rice_line(row, "[wa_] ", test_robust_acc=0.66))
    lines += ["Mode \t clean \t PGD20 \t AA", "[last wa] \t 0.8000 \t 0.5000 \t 0.4500"]
    (run,), _ = read(write(tmp_path / "output.log", stamped(lines)), tmp_path)
    assert numbers(run) == expected(rows)
    assert numbers(run, "evaluation@wa", "acc_adv", "test", "adversarial") == {4: 0.55, 5: 0.55, 6: 0.55}
    assert numbers(run, "evaluation@wa", "acc_adv", "train", "adversarial") == {4: 0.66, 5: 0.66, 6: 0.66}


def test_the_log_of_awps_trades(tmp_path):
    """The format of trades_AWP in https://github.com/csdongxian/AWP."""
    names = ["Learning Rate", "Adv Train Loss", "Nat Train Loss", "Nat Val Loss"]
    names += ["Adv Train Acc.", "Nat Train Acc.", "Nat Val Acc."]
    lines = ["".join(f"{name}\t" for name in names)]
    for row in curves(5):
        cells = [row["lr"], 1.4, 1.1, 1.0, 100 * row["train_robust_acc"], 100 * row["train_acc"], 80.0]
        lines.append("".join(f"{cell:.6f}\t" for cell in cells))
    (run,), said = read(write(tmp_path / "mine" / "log.txt", "\n".join(lines) + "\n"), tmp_path)
    assert "awp-trades: columns" in said
    assert numbers(run, *TRAIN) == expected(curves(5), "train_robust_acc")
    assert numbers(run, *CLEAN) == dict.fromkeys(range(1, 6), 0.8)
    assert numbers(run, "training", "loss")[3] == 1.4


@pytest.mark.parametrize("batches", [True, False])
def test_what_trades_prints(batches, tmp_path):
    """The lines of train_trades_mnist_binary.py in https://github.com/yaodongyu/TRADES."""
    lines = []
    for row in curves(4):
        if batches:
            lines.append(f"Train Epoch: {row['epoch']} [0/60000 (0%)]\tLoss: 0.700000")
        lines += ["=" * 64, "Training: Average loss: 0.6000, Accuracy: 30000/60000 (50%)"]
        lines.append("Test: Average loss: 0.5000, Accuracy: 8000/10000 (80%)")
        right = round(10000 * row["test_robust_acc"])
        lines.append(f"Test: Average Adv loss: 0.900000, Robust Accuracy: {right}/10000 (50%)")
    (run,), _ = read(write(tmp_path / "trades.txt", "\n".join(lines) + "\n"), tmp_path)
    assert numbers(run) == expected(curves(4))
    assert run.sizes == {"train": 60000, "test": 10000}
    assert run.series(*TEST)["n"].tolist() == [10000] * 4
    assert numbers(run, "evaluation", "acc_clean", "train", "clean")[1] == 0.5


def test_what_sgls_prints(tmp_path):
    """The lines of main_adv.py in https://github.com/devicerxx/SGLS."""
    lines = ["Namespace(arch='resnet18', epochs=4, loss='sgls', seed=7)", "*" * 40]
    for row in curves(4):
        for step, mean in ((150, 20.0), (391, 100 * row["train_robust_acc"])):
            batch = f"Epoch: [{row['epoch']}][{step}/391]\tLR {row['lr']:.6f}\tTime 0.300 (0.310)\tData 0.001 (0.002)\t"
            lines.append(f"{batch}Loss 1.5000 (1.6000)\tPrec@1 40.000 ({mean:.3f})")
        lines += ["*" * 40, " * Prec@1 80.000"]
        lines.append(f"sa test:  80.00, \t , ra test: {100 * row['test_robust_acc']: .2f}")
    (run,), said = read(write(tmp_path / "sgls.log", "\n".join(lines) + "\n"), tmp_path)
    assert "sgls: columns" in said
    assert numbers(run) == expected(curves(4))
    assert numbers(run, *TRAIN) == expected(curves(4), "train_robust_acc")
    assert numbers(run, "training", "loss") == dict.fromkeys(range(1, 5), 1.6)
    assert numbers(run, *CLEAN) == dict.fromkeys(range(1, 5), 0.8)


def test_a_format_may_be_named_and_what_no_format_knows_is_said(tmp_path):
    path = write(tmp_path / "prose.txt", "There are no numbers here.\n")
    with pytest.raises(ConfigError, match="no format knows it; give --format awp-trades, csv"):
        recognise(Source(path), None)
    for name in ("trades", "sgls", "rice", "lightning", "wandb", "csv", "json", "tensorboard", "mlflow", "awp-trades"):
        with pytest.raises(ConfigError) as error:
            read(path, tmp_path, format=name)
        assert "\n" not in str(error.value)
    packed = tmp_path / "packed.log.gz"
    packed.write_bytes(gzip.compress(stamped([RICE_HEADER, *map(rice_line, curves(3))]).encode()))
    (run,), _ = read(packed, tmp_path)
    assert run.name == "packed"
