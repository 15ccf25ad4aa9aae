"""What the soak says of samples, and a minute of it with OVERFIT_LAB_FAULTS=whole."""

import importlib.util
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", HERE / "soak.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(n=180, minutes=90.0, **slopes):
    """Flat but for a warm-up and what grows by so much an hour."""
    flat = {"memory_mb": 900.0, "memory_anonymous_mb": 500.0, "handles": 12, "threads": 2, "children": 0}
    flat |= {"temporary_files": 0, "leftovers": 0, "objects": 500_000}
    made = []
    for i in range(n):
        hours = (i + 1) / n * minutes / 60
        grown = {name: value + int(slopes.get(name, 0) * hours) for name, value in flat.items()}
        grown["memory_mb"] += (i % 3) * 0.5 - 200 * (i < n // 10)
        made.append({**grown, "minutes": hours * 60})
    return made


@pytest.mark.parametrize(
    ("slopes", "not_flat"),
    [({}, []), ({"memory_mb": 12}, ["memory_mb"]), ({"handles": 6}, ["handles"]), ({"threads": 2}, ["threads"])],
)
def test_what_grows_is_named(soak, slopes, not_flat):
    found = soak.verdict(samples(**slopes))
    assert found["not_flat"] == not_flat
    assert found["holds"] is (not not_flat)


def test_memory_is_not_judged_by_a_few_minutes(soak):
    found = soak.verdict(samples(n=10, minutes=5, memory_mb=500))
    assert not found["memory_is_judged"]
    assert found["holds"]


@pytest.mark.skipif(os.environ.get("OVERFIT_LAB_FAULTS") != "whole", reason="takes more than a minute")
def test_a_minute_of_everything(soak, tmp_path):
    found = soak.soak(1.0, tmp_path)
    assert found["holds"], found
    assert {path.name for path in tmp_path.iterdir()} == {"soak.json", "soak.csv", "soak.png"}
