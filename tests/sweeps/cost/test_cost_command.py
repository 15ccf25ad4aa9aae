"""`overfit-lab cost`."""

import json

import pytest

from overfit_lab.cli.main import run

FAST = ["--set", "epochs=3", "--set", "schedule=constant", "--set", "probes.metrics=none"]


def test_prints_a_short_table(capsys):
    assert run(["cost", "digits-hard", *FAST, "--hardware", "a100", "--devices", "2"]) == 0
    out, _ = capsys.readouterr()
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert names[:4] == ["network", "steps", "training", "evaluation"]
    assert "2 x NVIDIA A100 SXM 80 GB" in out
    assert "83% of it the attack" in out
    assert "memory of a device" in out
    assert "assumed, not measured" in out
    assert len(out.splitlines()) < 12


def test_every_device_by_default_and_none_assumed_on_the_cpu(capsys):
    assert run(["cost", "digits-hard", *FAST]) == 0
    out, _ = capsys.readouterr()
    for title in ("H200", "H100", "A100", "RTX 4090", "V100", "AMD EPYC"):
        assert title in out
    assert run(["cost", "digits-hard", *FAST, "--hardware", "epyc-core"]) == 0
    assert "assumed" not in capsys.readouterr()[0]


def test_json(capsys):
    assert run(["cost", "digits-sglr", *FAST, "--hardware", "h100", "--json"]) == 0
    found = json.loads(capsys.readouterr()[0])["h100"]
    (cost,) = found["runs"]
    assert cost["n_steps"] == 48
    assert cost["data"] == {"train": 500, "val": 0, "test": 797, "shape": [1, 8, 8], "n_classes": 10}
    assert found["total"]["flops"] == cost["flops"]["total"]
    keys = ("flops", "seconds", "memory_bytes", "disk_bytes", "left_out", "precision", "devices", "attack_share")
    assert all(key in cost for key in keys)


def test_a_sweep_is_the_sum_of_its_runs(capsys):
    def cost(*more):
        assert run(["cost", "digits-hard", *FAST, "--hardware", "epyc-core", "--json", *more]) == 0
        return json.loads(capsys.readouterr()[0])["epyc-core"]["total"]

    one, seeds = cost(), cost("--seeds", "3")
    assert seeds["n_runs"] == 3
    assert seeds["flops"] == 3 * one["flops"]
    both = cost("--grid", "attack.n_steps=0,7")
    assert both["n_runs"] == 2
    assert one["flops"] < both["flops"] < 2 * one["flops"]
    assert run(["cost", "digits-eps", *FAST, "--seeds", "2"]) == 0
    assert "runs" in capsys.readouterr()[0].splitlines()[0]


def test_a_set_that_is_not_here_is_described(capsys):
    common = ["cost", "digits-hard", *FAST, "--set", "data={name: 'imagefolder:nowhere'}", "--hardware", "a100"]
    assert run(common) == 2
    assert "give --data N_TRAIN,N_TEST,CxHxW,K" in capsys.readouterr()[1]
    assert run([*common, "--data", "1000,100,1x8x8,10", "--json"]) == 0
    assert json.loads(capsys.readouterr()[0])["a100"]["runs"][0]["data"]["train"] == 1000


def test_calibrated_here(capsys):
    assert run(["cost", "digits-hard", *FAST, "--calibrate", "--device", "cpu"]) == 0
    assert "this CPU" in capsys.readouterr()[0]


WRONG = {
    "unknown hardware": (["--hardware", "a10"], "unknown hardware 'a10'; did you mean a100"),
    "no devices": (["--devices", "0"], "--devices 0: expected 1 or more"),
    "no seeds": (["--seeds", "0"], "--seeds 0: expected 1 or more"),
    "two ways": (["--hardware", "a100", "--calibrate"], "give one of the two"),
    "a size that is none": (["--data", "1000"], "--data '1000': expected training images"),
    "an empty size": (["--data", "0,1,1x8x8,10"], "expected training images"),
    "an unknown set": (["--set", "data.name=cifar11"], "unknown dataset 'cifar11'"),
    "too many images": (["--set", "data.n_train=5000"], "data.n_train = 5000: only 1000 digits images are there"),
    "an option that is none": (["--set", "labels.r=2"], "labels.r"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_input_is_one_line(case, capsys):
    arguments, says = WRONG[case]
    assert run(["cost", "digits-hard", *FAST, *arguments]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_an_unknown_recipe(capsys):
    assert run(["cost", "digits-herd"]) == 2
    assert "did you mean" in capsys.readouterr()[1]
