"""How a run computes: what `auto` comes to, that processes and resumed runs do the same, and where it is written."""

import json

import pytest
import torch

from overfit_lab.config import apply_settings
from overfit_lab.config.recipes import recipe
from overfit_lab.config.recipes.book import RECIPES
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.models.compute.machine import multiplies_bf16_faster
from overfit_lab.models.factory import build_model
from overfit_lab.processes.world import World
from overfit_lab.records import identity
from overfit_lab.records.computed import as_computed
from overfit_lab.records.environment import instructions
from overfit_lab.records.layout import read_info
from overfit_lab.records.reader import Run
from overfit_lab.sweeps.cells import check_same_run
from overfit_lab.training import compute
from overfit_lab.training.build import build
from overfit_lab.training.compute import computing_on, resolve_compute, settle_compute
from overfit_lab.training.events import EpochEnded, EventBus, RunStarted
from overfit_lab.training.run import train_run
from same_run import assert_same_run
from tiny import tiny_config

CPU = torch.device("cpu")
WIDE = {"name": "preact-resnet18", "width": 32, "blocks": [1, 1, 1, 1]}
"""Some 15 MFLOP on an image of 8 x 8."""
CONVOLVES = {"name": "small-cnn", "width": 8}
QUIET = {"every": 2, "metrics": ["gradient-norm"], "n": 40}


def answer(faster):
    """A CPU that multiplies bfloat16 faster, or does not, whatever this one does."""
    return lambda device, instructions: faster


def resolved(model, **settings):
    config = tiny_config("hard", model=model, compute=settings)
    data = load_dataset(config.data, 0, CPU)
    return resolve_compute(config, build_model(config.model, data, CPU, seed=0), data, CPU)


FLAGS = {
    "flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile": ("AVX2", "AVX512", "AVX512_BF16", "AMX_BF16"),
    "flags\t\t: fpu avx2": ("AVX2",),
    "flags\t\t: fpu avx2_of_somebody": (),
    "Features\t: asimd bf16": (),
    "": (),
}


@pytest.mark.parametrize("line", FLAGS)
def test_instruction_sets_are_those_that_the_system_names(line, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16 by name alone\n{line}\n")
    assert instructions(path) == FLAGS[line]
    assert instructions(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    ("names", "faster"), [(("AVX2", "AVX512"), False), (("AVX512_BF16",), True), (("AMX_BF16",), True), ((), False)]
)
def test_bf16_is_faster_where_an_instruction_set_and_the_kernels_say_so(names, faster, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert multiplies_bf16_faster(CPU, names) is faster
    assert not multiplies_bf16_faster(torch.device("meta"), names)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not multiplies_bf16_faster(CPU, names)


@pytest.mark.parametrize(
    ("model", "asked", "faster", "expected"),
    [
        (WIDE, "auto", True, "bf16"),
        (WIDE, "auto", False, "fp32"),
        (WIDE, "fp32", True, "fp32"),
        (WIDE, "bf16", False, "bf16"),
        (CONVOLVES, "auto", True, "fp32"),  # too little to do
        ({"name": "mlp", "hidden": 4096}, "auto", True, "fp32"),  # enough, but it does not convolve
    ],
)
def test_auto_is_bf16_where_the_machine_is_fast_at_it_and_the_network_worth_it(
    model, asked, faster, expected, monkeypatch
):
    monkeypatch.setattr(compute, "multiplies_bf16_faster", answer(faster))
    assert resolved(model, precision=asked)["precision"] == expected


@pytest.mark.parametrize(
    ("model", "asked", "threads"), [("mlp", "auto", 1), (WIDE, "auto", 3), ("mlp", 2, 2), (WIDE, 1, 1)]
)
def test_threads_are_those_of_torch_where_a_batch_is_worth_sharing(model, asked, threads):
    model = {"name": model, "hidden": 16} if isinstance(model, str) else model
    with computing_on(3):
        assert resolved(model, threads=asked)["threads"] == threads


def test_what_auto_came_to_is_written_before_the_first_step_and_holds_while_it_trains(tmp_path):
    before, seen = torch.get_num_threads(), []

    def look(event):
        info = read_info(tmp_path / "run")
        seen.append((info["compute"]["threads"], info["hardware"]["threads"], torch.get_num_threads()))

    bus = EventBus()
    bus.on(RunStarted, look)
    bus.on(EpochEnded, look)
    config = tiny_config("hard", epochs=1, schedule="constant", probes=QUIET, compute={"threads": 2})
    train_run(config, tmp_path / "run", device="cpu", bus=bus)
    assert seen == [(2, 2, 2)] * 2
    assert torch.get_num_threads() == before
    info = read_info(tmp_path / "run")
    assert info["compute"]["precision"] == "fp32"
    assert info["hardware"].get("instructions", "") == " ".join(instructions())


@pytest.mark.parametrize("value", [0, -1, 1025, "many", 1.5])
def test_a_number_of_threads_that_cannot_be_is_refused(value):
    with pytest.raises(ConfigError, match=r"compute\.threads"):
        apply_settings(tiny_config(), [("compute.threads", value)])


def stopped_after(epoch, config, folder):
    def stop(event):
        if event.snapshot.clock.epoch == epoch:
            raise KeyboardInterrupt

    bus = EventBus()
    bus.on(EpochEnded, stop)
    assert train_run(config, folder, device="cpu", bus=bus) == "interrupted"


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_computes_as_it_began_and_says_so(tmp_path, monkeypatch):
    config = tiny_config("hard", model=CONVOLVES, epochs=2, schedule="constant", probes=QUIET)
    monkeypatch.setattr(compute, "WORTH_NARROWING", 0)
    monkeypatch.setattr(compute, "multiplies_bf16_faster", answer(True))
    train_run(config, tmp_path / "whole", device="cpu")
    stopped_after(1, config, tmp_path / "parts")
    monkeypatch.setattr(compute, "multiplies_bf16_faster", answer(False))
    notes = []
    assert train_run(None, tmp_path / "parts", resume=True, device="cpu", on_note=notes.append) == "completed"
    assert notes == []  # the folder's configuration is in the precision that the run computes in
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert read_info(tmp_path / "parts")["compute"]["precision"] == "bf16"
    train_run(config, tmp_path / "narrow", device="cpu")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "whole", tmp_path / "narrow")


def test_threads_are_kept_on_resume_unless_others_are_named(tmp_path):
    def config(**settings):
        return tiny_config("hard", epochs=3, schedule="constant", probes=QUIET, compute=settings)

    folder, notes = tmp_path / "run", []
    stopped_after(1, config(), folder)
    info = json.loads((folder / "run.json").read_text())
    info["compute"]["threads"] = 2  # as another machine might have
    (folder / "run.json").write_text(json.dumps(info))
    stop, numbers = EventBus(), []

    def look(event):
        numbers.append(torch.get_num_threads())
        if event.snapshot.clock.epoch == 2:
            raise KeyboardInterrupt

    stop.on(EpochEnded, look)
    train_run(config(), folder, resume=True, device="cpu", on_note=notes.append, bus=stop)
    assert notes == ["compute.threads stays 2, as the run began; here it would be 1"]
    train_run(config(threads=1), folder, resume=True, device="cpu", on_note=notes.append, bus=stop)
    assert len(notes) == 1
    assert numbers == [2, 2, 1]
    assert read_info(folder)["compute"]["threads"] == 1


@pytest.mark.parametrize(
    "said", [{"threads": 10**9}, {"threads": "auto"}, {"precision": ["bf16"]}, {"precision": "fp8"}]
)
def test_a_run_json_that_says_what_cannot_be_changes_nothing(said, tmp_path):
    session = build(tiny_config("hard"), CPU)
    before = dict(session.compute)
    tmp_path.joinpath("run.json").write_text(json.dumps({"status": "running", "compute": said}))
    assert settle_compute(session, tmp_path, resume=True) == []
    assert session.compute == before
    assert as_computed(session.config, {"compute": said}).compute.precision == "auto"


@pytest.mark.parametrize(("before", "threads"), [(1, 3), (2, 1)])
def test_threads_are_of_a_process_and_stay_with_as_many_processes(before, threads, tmp_path):
    """Two processes that each took the threads of one would wait for each other."""
    session = build(tiny_config("hard"), CPU)
    info = {"status": "stopped", "processes": before, "compute": {"threads": 3, "compile": True}}
    tmp_path.joinpath("run.json").write_text(json.dumps(info))
    notes = settle_compute(session, tmp_path, resume=True)
    assert session.compute["threads"] == threads
    assert session.compute["compile"] is True
    assert len(notes) == 1 + (threads == 3)


class _Second(World):
    """The second of two processes, whose first one takes bf16 and two threads."""

    def run_on_rank(self, rank, function):
        assert rank == 0
        return {"precision": "bf16", "compile": False, "channels_last": True, "fold": True, "threads": 2}


def test_all_processes_compute_as_the_first_one_does(tmp_path):
    session = build(tiny_config("hard"), CPU)
    assert session.compute["precision"] == "fp32"
    session.world = _Second(rank=1, size=2)
    settle_compute(session, tmp_path, resume=False)
    assert session.compute["precision"] == "bf16"
    with session.autocast():
        assert torch.is_autocast_enabled("cpu")


def test_runs_that_auto_made_in_two_precisions_are_two_experiments(tmp_path):
    """Their seeds are not averaged, and a sweep's cell is the run that it began, whatever auto would be now."""
    folders = {}
    for name in ("fp32", "bf16"):
        folders[name] = tmp_path / name
        train_run(tiny_config("hard", epochs=1, schedule="constant", probes=QUIET), folders[name], device="cpu")
        info = read_info(folders[name])
        info["compute"]["precision"] = name
        (folders[name] / "run.json").write_text(json.dumps(info))
        assert "auto" not in Run.open(folders[name]).config.compute.precision
    one, two = (identity.experiment(Run.open(folder).config) for folder in folders.values())
    assert {key for key in one if one[key] != two[key]} == {"compute.precision"}
    asked = tiny_config("hard", epochs=1, schedule="constant", probes=QUIET)
    check_same_run(folders["bf16"], asked)
    with pytest.raises(RunFolderError, match=r"compute\.precision = 'bf16', the sweep wants 'fp32'"):
        check_same_run(folders["bf16"], apply_settings(asked, [("compute.precision", "fp32")]))


def test_the_recipes_that_are_compared_name_their_precision():
    names = [name for name in RECIPES if name.startswith(("digits-", "cifar10-small-"))]
    assert len(names) > 40
    assert {recipe(name).compute.precision for name in names} == {"fp32"}
