"""The sinks of other tools, read back by the tools themselves; each is skipped where its package is not installed."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from overfit_lab.errors import ConfigError, MissingPackageError
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning
from overfit_lab.records.sinks.mirror import make_sinks

NAME = "test/adversarial/evaluation/acc_adv"
CONFIG = {"seed": 3, "attack": {"eps": 0.1}, "labels": {"name": "sglr"}, "regularizers": []}


def records(epoch, value):
    """A robust test accuracy, a learning rate and a number that is not finite."""
    return [
        Record(epoch, 10 * epoch, "evaluation", "acc_adv", "test", "adversarial", "given", value, 0.01, 100, None),
        Record(epoch, 10 * epoch, "training", "lr", "", "", "", 0.1, None, 0, None),
        Record(epoch, 10 * epoch, "iiw", "iiw", "train", "clean", "given", None, None, 100, 0.5),
    ]


def lived(sink, folder, epochs, after=0, status="completed"):
    """One process of a run: some epochs given to a sink."""
    sink.begin(Beginning("my-run", "0123456789abcdef", folder, CONFIG, after))
    for epoch, value in epochs.items():
        sink.records(records(epoch, value))
    sink.end(status)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_an_absent_package_is_one_line(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(MissingPackageError, match=rf"^{name} is not installed; pip install 'overfit-lab\[{name}\]'$"):
        make_sinks([name])


def test_no_sink_loads_its_package_before_it_is_asked_for():
    packages = "{'tensorboard', 'wandb', 'trackio', 'torch.utils.tensorboard'}"
    code = "import sys, overfit_lab.records.sinks.mirror as m, overfit_lab.config.catalog as c; list(c.SINKS)"
    code += f"; assert not {packages} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")

    @staticmethod
    def read(folder):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        accumulator = EventAccumulator(str(folder))
        accumulator.Reload()
        return accumulator

    @staticmethod
    def points(accumulator, name=NAME):
        return {event.step: pytest.approx(event.value) for event in accumulator.Scalars(name)}

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_scalars_and_configuration_are_read_back(self, tmp_path):
        (sink,) = make_sinks(["tensorboard"]).values()
        lived(sink, tmp_path, {1: 0.25, 2: 0.5})
        accumulator = self.read(tmp_path / "tensorboard")
        assert self.points(accumulator) == {1: 0.25, 2: 0.5}
        assert sorted(accumulator.Tags()["scalars"]) == [NAME, "training/lr"]
        content = str(accumulator.summary_metadata)
        assert "attack.eps" in content
        assert "sglr" in content

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("after", [0, 2])
    def test_what_is_given_again_replaces_what_was_there(self, after, tmp_path):
        (sink,) = make_sinks(["tensorboard"]).values()
        lived(sink, tmp_path, {1: 0.1, 2: 0.2, 3: 0.9}, status="interrupted")
        again = {epoch: epoch / 10 for epoch in range(after + 1, 5)}
        lived(sink, tmp_path, again, after)
        events = self.read(tmp_path / "tensorboard").Scalars(NAME)
        assert [event.step for event in events] == [1, 2, 3, 4]
        assert [event.value for event in events] == pytest.approx([0.1, 0.2, 0.3, 0.4])

    def test_without_a_folder_it_needs_one_of_its_own(self, tmp_path):
        from overfit_lab.records.sinks.tensorboard import TensorBoardSink

        with pytest.raises(ConfigError, match="needs a folder"):
            lived(TensorBoardSink(), None, {1: 0.5})
        lived(TensorBoardSink(tmp_path / "mine"), None, {1: 0.5})
        assert list((tmp_path / "mine").glob("events.*"))


def run_apart(code, **environment):
    """Both tools keep global state, threads and helpers of their own, so each test has a process of its own."""
    head = "import sys, warnings; from pathlib import Path\nfrom test_tools import lived, records\n"
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    full = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, timeout=120, env=full)
    assert done.returncode == 0, done.stderr
    return done


class TestWandb:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("wandb", reason="wandb is not installed")

    @pytest.mark.slow
    def test_an_unconnected_run_is_in_its_folder(self, tmp_path):
        """The history as wandb's own reader of its files gives it."""
        code = f"""
from overfit_lab.records.sinks.mirror import make_sinks
(sink,) = make_sinks(["wandb"]).values()
lived(sink, Path({str(tmp_path)!r}), {{1: 0.25, 2: 0.5}})
"""
        run_apart(code, WANDB_MODE="offline", WANDB_DIR=str(tmp_path), HOME=str(tmp_path))
        (file,) = (tmp_path / "wandb").glob("offline-run-*/run-0123456789abcdef.wandb")
        history, config = wandb_content(file)
        assert [row[NAME] for row in history] == [0.25, 0.5]
        assert [row["_step"] for row in history] == [1, 2]
        assert [row["epoch"] for row in history] == [1, 2]
        assert config["attack"] == {"eps": 0.1}

    @pytest.mark.slow
    def test_without_an_account_it_is_refused_before_the_run(self, monkeypatch, tmp_path):
        code = """
from overfit_lab.records.sinks.mirror import make_sinks
from overfit_lab.errors import ConfigError
try:
    make_sinks(["wandb"])
except ConfigError as error:
    print(error)
"""
        environment = {"WANDB_MODE": "online", "WANDB_API_KEY": "", "HOME": str(tmp_path)}
        done = run_apart(code, **environment, NETRC=str(tmp_path / "none"), WANDB_CONFIG_DIR=str(tmp_path))
        assert done.stdout.strip() == "wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline"


def chunks(content):
    """The entries of a log of blocks of 32 KiB, as LevelDB has it: checksum (4), length (2), type (1), data."""
    position, entry = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + 7])
        entry += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


def wandb_content(file):
    """The rows of the history and the configuration in one of wandb's own files."""
    from wandb.proto import wandb_internal_pb2

    history, config = [], {}
    for entry in chunks(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(entry)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            history.append(items | {"_step": record.history.step.num})
        if kind == "run":
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    return history, config


class TestTrackio:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("trackio", reason="trackio is not installed")

    @pytest.mark.slow
    def test_a_run_and_its_continuation_are_in_one_database(self, tmp_path):
        code = """
from overfit_lab.records.sinks.mirror import make_sinks
(sink,) = make_sinks(["trackio"]).values()
lived(sink, None, {epochs}, {after})
"""
        environment = {"TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
        first = run_apart(code.format(epochs={1: 0.25, 2: 0.5}, after=0), **environment)
        run_apart(code.format(epochs={3: 0.75}, after=2), **environment)
        assert first.stdout == ""
        (file,) = tmp_path.glob("*.db")
        with sqlite3.connect(file) as database:
            rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
        assert {name for name, _, _ in rows} == {"my-run-012345"}
        assert [step for _, step, _ in rows] == [1, 2, 3]
        assert [json.loads(text)[NAME] for _, _, text in rows] == [0.25, 0.5, 0.75]
