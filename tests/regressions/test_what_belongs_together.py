"""A run goes on only from files that belong together; what does not fit is refused before anything is written."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from overfit_lab import Monitor
from overfit_lab.cli.main import run as command
from overfit_lab.config import to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.changes import EPOCHS, change_settings
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.run import train_run
from same_run import assert_same_run, rows
from tiny import tiny_config

CONFIG = tiny_config("hard", probes={"every": 2, "metrics": ["calibration"], "n": 32}, epochs=3)


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_run(CONFIG, folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped when its third epoch ended, before anything of that was written down."""
    folder = tmp_path_factory.mktemp("stopped") / "run"

    def stop(event):
        if event.snapshot.clock.epoch == 3:
            raise KeyboardInterrupt

    bus = EventBus()
    bus.on(EpochEnded, stop)
    assert train_run(CONFIG, folder, device="cpu", bus=bus) == "interrupted"
    return folder


@pytest.fixture(params=["completed", "stopped"])
def folder(request, tmp_path):
    """A copy of a run that ended, and one of a run that can go on."""
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "run"))


def digest(folder):
    """A hash of every file but the lock."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def shorter(path):
    path.write_bytes(path.read_bytes()[:700])


def much_shorter(path):
    path.write_bytes(b"")


def other_values(path):
    path.write_bytes(path.read_bytes().replace(b'"value":0.', b'"value":1.', 1))


def other_lines(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def padded(path):
    content = path.read_bytes()
    path.write_bytes(content[:700] + b"\0" * (len(content) - 700))


@pytest.mark.parametrize("damage", [shorter, much_shorter, other_values, other_lines, padded])
def test_records_that_are_not_those_of_the_checkpoint_are_refused_and_nothing_changes(folder, damage):
    damage(layout.records_path(folder))
    before = digest(folder)
    with pytest.raises(RunFolderError, match=r"records\.jsonl: .*(are missing|are not those)"):
        train_run(CONFIG, folder, resume=True, device="cpu")
    assert digest(folder) == before


def test_a_checkpoint_of_earlier_versions_notes_no_checksum_and_is_held_to_the_length(folder):
    writer = RunWriter.reopen(folder)
    with writer, pytest.raises(RunFolderError, match="so records are missing"):
        writer.check_holds({"records": writer.position + 1}, "a checkpoint")
    with RunWriter.reopen(folder) as writer:
        writer.check_holds({"records": writer.position}, "a checkpoint")


def test_line_ends_of_another_system_lose_nothing(folder, completed):
    path = layout.records_path(folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert train_run(CONFIG, folder, resume=True, device="cpu") == "completed"
    assert_same_run(folder, completed)


def test_a_missing_checkpoint_is_no_beginning(folder):
    layout.checkpoint_path(folder, "last").unlink()
    before = digest(folder)
    with pytest.raises(RunFolderError, match=r"last\.safetensors: missing, though epoch \d was recorded"):
        train_run(CONFIG, folder, resume=True, device="cpu")
    assert digest(folder) == before


def test_samples_that_a_kill_left_out_are_written_when_the_run_goes_on(folder, completed):
    layout.samples_path(folder).unlink()
    train_run(CONFIG, folder, resume=True, device="cpu")
    assert layout.samples_path(folder).read_bytes() == layout.samples_path(completed).read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("probe", "--metric", "calibration,gradient-norm", "--checkpoint", "all", "--n", "32"),
        ("evaluate", "--attack", "pgd", "--n", "24"),
        ("check", "--only", "deterministic", "--n", "16"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_is_repeated_doubles_no_row(folder, words, capfd):
    name, *options = words
    before = rows(folder)
    assert command([name, str(folder), *options]) == 0
    once = rows(folder)
    assert command([name, str(folder), *options]) == 0
    assert rows(folder) == once
    assert len(once) > len(before)


def test_the_records_of_an_outcome_that_was_there_first_follow(folder, capfd):
    words = ["evaluate", str(folder), "--attack", "pgd", "--n", "24"]
    path = layout.records_path(folder)
    before = path.read_bytes()
    assert command(words) == 0
    after = path.read_bytes()
    path.write_bytes(before)  # as where a kill came between the outcome and its records
    assert command(words) == 0
    assert path.read_bytes() == after


def test_a_line_that_is_no_record_ends_what_stays_only_at_the_end(folder):
    path = layout.records_path(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{}\n", *lines[2:]]))
    before = path.read_bytes()
    with RunWriter.reopen(folder) as writer, pytest.raises(RunFolderError, match="line 3: not a record"):
        writer.keep_until(1)
    assert path.read_bytes() == before


def test_a_monitor_writes_records_again_that_its_folder_lost(tmp_path, capfd):
    def monitor(resume=False):
        torch.manual_seed(0)
        x, y = torch.rand(32, 1, 4, 4), torch.arange(32) % 4
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
        return Monitor(model, train=(x, y), probes=["gradient-norm"], n=16, folder=tmp_path / "run", resume=resume)

    first = monitor()
    first.epoch_ended()
    first.epoch_ended()
    state = first.state_dict()
    first.close("interrupted")
    path = layout.records_path(tmp_path / "run")
    whole = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(whole[:-3]) + b"\n")
    second = monitor(resume=True)
    second.load_state_dict(state)
    second.close()
    assert path.read_bytes().splitlines() == whole
    assert "3 records were missing; they are written again" in capfd.readouterr().err


def test_settings_that_a_kill_left_half_written_are_noted_once(folder):
    longer = CONFIG.model_copy(update={"epochs": 5})
    with RunWriter.reopen(folder) as writer:
        change_settings(writer, longer, 2)
        layout.config_path(folder).write_text(to_yaml(CONFIG))  # it was written after run.json
        change_settings(writer, longer, 2)
        assert len(layout.read_info(folder)[EPOCHS]) == 1
