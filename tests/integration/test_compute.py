"""Ways of computing: mixed precision, memory format, compilation."""

import shutil

import pytest
import torch

from overfit_lab.records.reader import Run
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from tiny import tiny_config

QUIET = {"every": 2, "metrics": ["iiw", "gradient-norm"], "n": 40}


def losses(folder, **compute):
    config = tiny_config(model={"name": "small-cnn", "width": 8}, probes=QUIET, compute=compute)
    assert train_run(config, folder, device="cpu") == "completed"
    run = Run.open(folder)
    assert run.info["compute"].items() >= compute.items()
    return run.series("training", "loss")["value"].to_numpy()


def test_memory_format_changes_nothing_but_rounding(tmp_path):
    plain = losses(tmp_path / "plain", channels_last=False)
    assert losses(tmp_path / "last", channels_last=True) == pytest.approx(plain, rel=1e-3)


def test_mixed_precision_is_near_and_its_weights_stay_float32(tmp_path):
    plain = losses(tmp_path / "plain")
    mixed = losses(tmp_path / "bf16", precision="bf16")
    assert mixed == pytest.approx(plain, rel=0.03)
    assert not (mixed == plain).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="compilation needs a C++ compiler")
def test_a_compiled_run_is_the_same_to_rounding_and_can_be_probed(tmp_path):
    plain = losses(tmp_path / "plain")
    assert losses(tmp_path / "compiled", compile=True) == pytest.approx(plain, rel=1e-3)
    live = Run.open(tmp_path / "compiled").series("iiw", "iiw", "train", "clean")["value"].iloc[-1]
    later = probe_run(tmp_path / "compiled", ["iiw"], device="cpu", save=False)
    assert [r.value for r in later if r.field == "iiw" and r.inputs == "clean"] == [live]
    torch.compiler.reset()
