"""Options that came after the first run folders: runs without them are written and hashed as before."""

from pathlib import Path

import pytest
import yaml

from overfit_lab.config import (
    ComputeConfig,
    DataConfig,
    RunConfig,
    apply_overrides,
    from_yaml,
    load_config,
    parse_config,
    parse_size,
    to_dict,
    to_yaml,
)
from overfit_lab.errors import ConfigError
from overfit_lab.records.experiments import differences
from overfit_lab.training.build import complete
from run_factory import make_run

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"
STREAMED = ["data.stream=true", "data.workers=3", "data.prefetch=4", "data.memory_limit=8GB"]


@pytest.mark.parametrize("group", [DataConfig, ComputeConfig])
def test_a_group_without_them_is_written_as_before(group):
    written = group().model_dump(mode="json")
    assert not set(written) & group.younger
    assert set(written) | group.younger == set(group.model_fields)


def test_an_old_folders_configuration_is_written_back_as_it_is():
    folders = [path for path in REFERENCE.iterdir() if (path / "config.yaml").is_file()]
    assert folders
    for folder in folders:
        stored = yaml.safe_load((folder / "config.yaml").read_text())
        again = to_dict(complete(load_config(folder / "config.yaml")))
        assert again["data"] == stored["data"]
        assert not set(again["compute"]) & ComputeConfig.younger


def test_those_that_were_set_are_written_and_read():
    settings = [*STREAMED, "data.image_size=64", "data.crop_scale=[0.2,1]", "compute.label_memory=disk"]
    config = apply_overrides(RunConfig(), settings)
    assert from_yaml(to_yaml(config)) == config
    assert to_dict(config)["data"]["workers"] == 3
    assert apply_overrides(config, ["data.workers=null", "data.stream=auto"]).data.workers is None
    assert "label_memory_limit" not in to_dict(config)["compute"]


def test_how_images_are_read_makes_no_other_experiment_but_their_size_does(tmp_path):
    plain = make_run(tmp_path / "a", data={})
    read = {"stream": True, "workers": 3, "prefetch": 1, "memory_limit": "1GB"}
    other = make_run(tmp_path / "b", seed=1, data=read, compute={"label_memory": "disk"})
    assert differences([plain, other]) == {}
    resized = make_run(tmp_path / "c", seed=1, data={"image_size": 6})
    assert differences([plain, resized]) == {"data.image_size": [None, 6]}


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("1.5 MB", 1500000), ("512MiB", 2**29), ("2kib", 2048), ("100", 100), ("3TB", 3 * 10**12)],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"memory_limit": "much"}, r"data.memory_limit = 'much': 'much': expected a size above 0 such as 8GB"),
        ({"memory_limit": "0GB"}, "expected a size above 0"),
        ({"shorter_side": 8}, "shorter_side 8 needs an image_size"),
        ({"shorter_side": 8, "image_size": 9}, "shorter_side 8 needs an image_size"),
        ({"workers": -1}, "data.workers = -1"),
        ({"stream": "maybe"}, "data.stream"),
        ({"prefetch": -1}, "data.prefetch = -1"),
    ],
)
def test_values_that_make_no_sense_are_refused_in_one_line(data, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config({"data": data})
    assert "\n" not in str(caught.value)
