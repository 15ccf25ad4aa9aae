"""Options that came after the first run folders."""

import yaml

from overfit_lab.records.experiments import differences
from overfit_lab.records.naming import model_title
from overfit_lab.records.reader import Run
from run_factory import make_run

MODEL = {"name": "preact-resnet18", "width": 16}


def test_an_older_folder_and_a_younger_one_are_one_experiment(tmp_path):
    """The younger one's configuration names options that did not exist; it once counted as another model."""
    old = make_run(tmp_path / "old", model=MODEL)
    new = make_run(tmp_path / "new", seed=1, model={**MODEL, "final_norm": True, "shortcut": "activation"})
    assert "final_norm" not in yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())["model"]
    assert differences([old, new]) == {}
    assert model_title(old.config) == model_title(new.config) == "PreAct-ResNet-18 (width 16)"


def test_another_value_is_another_model_and_is_said(tmp_path):
    old = make_run(tmp_path / "old", model=MODEL)
    other = make_run(tmp_path / "other", model={**MODEL, "final_norm": False})
    assert differences([old, other]) == {"model.final_norm": [True, False]}
    assert model_title(other.config) == "PreAct-ResNet-18 (width 16, final norm False)"
    assert "final_norm" not in Run.open(make_run(tmp_path / "mlp").folder).config.model.options
