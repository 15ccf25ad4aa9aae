"""Run folders that were written before a component had all its options of today."""

import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from tiny import tiny_config


def test_a_run_from_before_an_option_was_added_is_resumed(tmp_path, capfd):
    """The stored configuration lacks the option's default, and was once taken for another run's."""
    path, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(to_yaml(tiny_config("hard", epochs=1, probes={"metrics": []})))
    assert run(["train", str(path), "--out", str(folder), "--device", "cpu"]) == 0
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    del stored["model"]["depth"]
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    assert run(["train", str(path), "--out", str(folder), "--device", "cpu", "--resume"]) == 0
    assert "another configuration" not in capfd.readouterr()[1]
    assert run(["train", str(path), "--out", str(folder), "--resume", "--set", "seed=5"]) == 2
    assert "another configuration" in capfd.readouterr()[1]
