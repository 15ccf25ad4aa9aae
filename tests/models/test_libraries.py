"""Networks of torchvision and timm by name."""

import sys

import pytest
import torch

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.config.permission import NOTHING, granted
from overfit_lab.config.trust import check_trusted
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError
from overfit_lab.models.factory import build_model
from overfit_lab.models.features import penultimate_features
from overfit_lab.models.weights import load_into
from overfit_lab.training.complete import complete
from strangers import images, prefixed, randomised

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(name, side=32, channels=3, **options):
    x = (images(8, channels, side) * 255).round().to(torch.uint8)
    pair = (x, torch.arange(8) % 4)
    data = dataset_from_arrays(pair, pair, mean=MEAN[:channels], std=STD[:channels])
    part = complete(RunConfig(model={"name": name, **options})).model
    assert part.name == name
    return build_model(part, data, torch.device("cpu"), seed=0).eval()


def normalised(x):
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize(
    ("name", "head", "side"),
    [("resnet18", "fc", 32), ("mobilenet_v3_small", "classifier.3", 32), ("shufflenet_v2_x0_5", "fc", 32)],
)
@pytest.mark.parametrize("spelling", ["plain", "module", "normalize"])
def test_torchvisions_own_files_give_torchvisions_logits(name, head, side, spelling):
    from torchvision import models

    stranger = randomised(models.get_model(name, weights=None, num_classes=4))
    state = stranger.state_dict()
    if spelling == "module":
        state = prefixed(state, "module.")
    if spelling == "normalize":
        constants = {"mean": torch.tensor(MEAN).view(1, 3, 1, 1), "std": torch.tensor(STD).view(1, 3, 1, 1)}
        state = {**prefixed(constants, "normalize."), **prefixed(state, "model.")}
    model = build(f"torchvision:{name}", side)
    load_into(model, state)
    x = images(side=side)
    with torch.no_grad():
        torch.testing.assert_close(model(x), stranger(normalised(x)), atol=1e-5, rtol=1e-5)
    assert model.penultimate == head
    features = penultimate_features(model, x, head)
    last = model.get_submodule(head)
    torch.testing.assert_close(last(features), model(x), atol=1e-4, rtol=1e-4)


def test_a_transformer_takes_the_size_of_the_images():
    model = build("torchvision:vit_b_32", image_size=32)
    assert model.penultimate == "heads.head"


def test_normalize_goes_with_them():
    with_none, with_data = build("torchvision:squeezenet1_1", normalize="none"), build("torchvision:squeezenet1_1")
    x = images(2)
    with torch.no_grad():
        torch.testing.assert_close(with_none(normalised(x)), with_data(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "did you mean resnet"),
        ("torchvision:", "expected torchvision:NAME"),
        ("torchvision", "expected torchvision:NAME"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no such model of torchvision"),
        ("torchvision:https://evil.example/x", "no such model of torchvision"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(name)
    assert "\n" not in str(caught.value)


def test_grey_images_fail_in_one_line():
    with pytest.raises(ConfigError, match="fails on images of 1x32x32"):
        build("torchvision:resnet18", channels=1)


def test_the_prefixes_are_no_code_to_trust():
    for name in ("torchvision:resnet18", "timm:resnet18", "mlp:evil"):
        check_trusted({"model": {"name": name}}, "a.yaml", trust=False)
    with granted(NOTHING):
        with pytest.raises(ConfigError, match=r"model\.name = 'mymodels:net'"):
            check_trusted({"model": {"name": "mymodels:net"}}, "a.yaml", trust=False)
        with pytest.raises(ConfigError, match="objective 'timm:resnet18': names code to run"):
            OBJECTIVES["timm:resnet18"]


def test_without_timm_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"timm is not installed; pip install 'overfit-lab\[timm\]'"):
        build("timm:resnet18")


@pytest.mark.parametrize("file", ["timm.py", "timm/__init__.py"])
def test_a_file_of_that_name_beside_a_strangers_run_is_not_imported(tmp_path, monkeypatch, file):
    """The current folder is on the path, and without timm a stranger's ``timm.py`` would have been taken for it."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("from pathlib import Path\nPath('mark').write_text('ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ConfigError, match="timm is not installed"):
        build("timm:resnet18")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(("name", "head"), [("resnet10t", "fc"), ("mobilenetv3_small_050", "classifier")])
@pytest.mark.filterwarnings("ignore")
def test_timms_own_files_give_timms_logits(name, head):
    timm = pytest.importorskip("timm")
    stranger = randomised(timm.create_model(name, num_classes=4))
    model = build(f"timm:{name}")
    load_into(model, prefixed(stranger.state_dict(), "module."))
    x = images()
    with torch.no_grad():
        torch.testing.assert_close(model(x), stranger(normalised(x)), atol=1e-5, rtol=1e-5)
    assert model.penultimate == head
    assert build(f"timm:{name}", channels=1)(images(channels=1)).shape == (3, 4)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "hf_hub:x/y", "resnet18.a1_in1k", "local-dir:/x"])
@pytest.mark.filterwarnings("ignore")
def test_timm_fetches_nothing(name):
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="no such model of timm"):
        build(f"timm:{name}")
