"""``overfit-lab probe FILE``: files of other code bases, from the command line to the numbers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from overfit_lab.cli.main import run
from strangers import PostActNet, PreActNet, prefixed, randomised

SMALL = ["--n", "12", "--json", "--device", "cpu"]
HESSIAN = {"n": 4, "max_probes": 2}
ATTACK = ["--set", "evaluation.n_steps=2", "--set", f"probes.options.hessian={HESSIAN}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stand-in of CIFAR-10: 32x32 colour images of ten classes."""
    root = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0)
    for part, n in (("train", 3), ("test", 2)):
        for k in range(10):
            (root / part / str(k)).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                    root / part / str(k) / f"{i}.png"
                )
    return root


def stand_in_test(folder):
    """The stand-in's test images, in [0, 1], and their labels."""
    paths = sorted((folder / "test").glob("*/*.png"))
    x = np.stack([np.asarray(Image.open(path)) for path in paths])
    return torch.from_numpy(x).permute(0, 3, 1, 2) / 255, torch.tensor([int(path.parent.name) for path in paths])


def pyhessian(path):
    """PyHessian's ResNet-20 as its checkpoint is: ``module.`` before each name, normalisation outside."""
    stranger = randomised(PostActNet((3, 3, 3), 16, head="fc", name="downsample"))
    torch.save(prefixed(stranger.state_dict(), "module."), path)
    return stranger


def probe(path, folder, model, metric, *more):
    return ["probe", str(path), "--model", model, "--data", f"imagefolder:{folder}", "--metric", metric, *SMALL, *more]


def test_pyhessians_resnet20(tmp_path, folder, capfd):
    stranger = pyhessian(tmp_path / "net.pkl")
    more = [*ATTACK, "--set", "model.normalize=0.4914,0.4822,0.4465/0.2023,0.1994,0.2010", "--inputs", "clean"]
    command = probe(tmp_path / "net.pkl", folder, "resnet20", "calibration,hessian,features", *more)
    command[command.index("--n") + 1] = "20"
    assert run(command) == 0
    out, err = capfd.readouterr()
    assert "names of PyHessian" in err
    rows = {(row["probe"], row["field"], row["split"]): row["value"] for row in json.loads(out)}
    assert {name for name, *_ in rows} == {"calibration", "hessian", "features"}
    assert {row["epoch"] for row in json.loads(out)} == {None}
    x, y = stand_in_test(folder)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    with torch.no_grad():
        loss = F.cross_entropy(stranger((x - mean) / std), y).item()
    assert rows["calibration", "nll", "test"] == pytest.approx(loss, rel=1e-4)


def test_a_file_of_robustbench_by_the_obvious_command(tmp_path, folder, capfd):
    """Its own constants are used, numpy's numbers beside it do not matter, and an underscore is a hyphen."""
    stranger = randomised(PreActNet(64))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)))
    state = {**stranger.state_dict(), "mu": mean, "sigma": std}
    torch.save({"state_dict": prefixed(state, "module."), "best_acc": np.float64(0.5)}, tmp_path / "w.pt")
    assert (
        run(probe(tmp_path / "w.pt", folder, "preact_resnet18", "calibration", "--inputs", "clean", "--n", "20")) == 0
    )
    out, err = capfd.readouterr()
    assert "normalisation" in err
    rows = {(row["field"], row["split"]): row["value"] for row in json.loads(out)}
    x, y = stand_in_test(folder)
    with torch.no_grad():
        loss = F.cross_entropy(stranger((x - mean) / std), y).item()
    assert rows["nll", "test"] == pytest.approx(loss, rel=1e-4)


def test_torchvisions_network_by_name(tmp_path, folder, capfd):
    from torchvision import models

    torch.save(models.get_model("squeezenet1_1", weights=None, num_classes=10).state_dict(), tmp_path / "w.pth")
    command = probe(tmp_path / "w.pth", folder, "torchvision:squeezenet1_1", "calibration", "--inputs", "clean")
    assert run(command) == 0
    assert json.loads(capfd.readouterr()[0])


def test_what_can_be_measured_is_and_a_note_names_the_rest(tmp_path, folder, capfd):
    """``iiw`` has no theta_0 on a mere weights file; it once kept the others from being measured."""
    pyhessian(tmp_path / "net.pt")
    assert run(probe(tmp_path / "net.pt", folder, "resnet20", "iiw,calibration", *ATTACK)) == 0
    out, err = capfd.readouterr()
    assert {row["probe"] for row in json.loads(out)} == {"calibration"}
    (line,) = [line for line in err.splitlines() if "passed over" in line]
    assert "iiw: needs the weights it starts from" in line
    assert "--reference FILE" in line


def test_where_nothing_can_be_measured_the_status_is_2(tmp_path, folder, capfd):
    pyhessian(tmp_path / "net.pt")
    assert run(probe(tmp_path / "net.pt", folder, "resnet20", "iiw", *ATTACK)) == 2
    out, err = capfd.readouterr()
    assert "iiw: needs the weights it starts from" in err
    assert not out


def test_with_a_reference_all_are_measured(tmp_path, folder, capfd):
    pyhessian(tmp_path / "net.pt")
    torch.save(PostActNet((3, 3, 3), 16, head="fc", name="downsample").state_dict(), tmp_path / "start.pt")
    more = [*ATTACK, "--reference", str(tmp_path / "start.pt"), "--set", "probes.options.iiw.layers=false"]
    assert run(probe(tmp_path / "net.pt", folder, "resnet20", "iiw,calibration", *more)) == 0
    out, err = capfd.readouterr()
    assert {row["probe"] for row in json.loads(out)} == {"iiw", "calibration"}
    assert "passed over" not in err


def test_a_misfit_is_one_line(tmp_path, folder, capfd):
    pyhessian(tmp_path / "net.pt")
    assert run(probe(tmp_path / "net.pt", folder, "resnet32", "calibration")) == 2
    err = capfd.readouterr()[1]
    assert err.count("\n") == 1
    assert "nearest: names of pyhessian-resnet" in err
    assert run(probe(tmp_path / "net.pt", folder, "resnet20", "calibration", "--set", "model.normalize=imagenet")) == 2
    err = capfd.readouterr()[1]
    assert err.count("\n") == 1
    assert "expected data, none, or MEAN/STD" in err


def test_the_list_of_models_has_them(capfd):
    assert run(["list", "models"]) == 0
    out = capfd.readouterr()[0]
    for name in ("resnet20", "wrn-28-10-swish", "preact-resnet18-swish", "trades-cnn", "timm", "torchvision"):
        assert f"\n{name} " in out
