"""Arrays that are not what their probe leaves are refused where a run is read, by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from overfit_lab.errors import RunFolderError
from overfit_lab.files.arrays import read_arrays, write_arrays
from overfit_lab.records.array_shapes import SHAPES, why_damaged
from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from tiny import METRICS, tiny_config

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"
CHANGES = {
    "text": lambda array: array.astype(str),
    "truths": lambda array: array.astype(bool),
    "one more axis": lambda array: array[None],
    "no axis": lambda array: np.array(7.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    probes = {"every": 2, "metrics": METRICS, "n": 40, "options": {"hessian": {"max_probes": 4, "density": True}}}
    train_run(tiny_config("hard", epochs=2, schedule="constant", probes=probes), folder, device="cpu")
    return folder


def arrays_of(folder):
    """By probe and name of the array: its file and the array."""
    return {
        (path.stem.rpartition("-")[0], name): (path, array)
        for path in sorted((folder / "arrays").glob("*-0002.npz"))
        for name, array in read_arrays(path).items()
    }


def test_what_probes_leave_is_of_the_shapes_that_are_stated(folder):
    found = arrays_of(folder)
    known = {(probe, begins) for probe, name in found for begins in SHAPES.get(probe, {}) if name.startswith(begins)}
    assert known == {(probe, begins) for probe, shapes in SHAPES.items() if probe != "masking" for begins in shapes}
    for probe in {probe for probe, _ in found}:
        assert Run.open(folder).arrays(probe, 2)


@pytest.mark.parametrize("change", CHANGES)
def test_one_that_is_changed_is_refused_by_name(folder, tmp_path, change):
    for (probe, name), (path, array) in arrays_of(folder).items():
        assert any(name.startswith(begins) for begins in SHAPES[probe]), f"{probe}: {name}"
        copy = tmp_path / probe / name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"))
        write_arrays(copy / "arrays" / path.name, {**read_arrays(path), name: CHANGES[change](array)})
        with pytest.raises(RunFolderError, match=rf"{path.name}: damaged, '{name}' is .* expected"):
            Run.open(copy).arrays(probe, 2)


def test_of_a_map_all_parts_are_of_the_same_samples(folder):
    (path,) = {path for (probe, _), (path, _) in arrays_of(folder).items() if probe == "features"}
    arrays = read_arrays(path)
    label = next(name for name in arrays if name.startswith("label-"))
    assert why_damaged("features@ema", arrays) == ""
    assert "same samples" in why_damaged("features@ema", {**arrays, label: arrays[label][:-1]})
    assert "same samples" in why_damaged("features", {k: v for k, v in arrays.items() if k != label})


def test_geometry_is_whole_without_the_search_too():
    """Its last column is the measured perturbation, where that is searched for."""
    assert why_damaged("logit-geometry", {"geometry-test-clean": np.zeros((7, 4))}) == ""
    assert why_damaged("logit-geometry", {"geometry-test-clean": np.zeros((7, 5))}) == ""
    said = why_damaged("logit-geometry", {"geometry-test-clean": np.zeros((7, 3))})
    assert said == "'geometry-test-clean' is float64 (7, 3), expected numbers (n, 4 or 5)"


def test_evidence_is_finite():
    assert why_damaged("masking", {"evidence-converged": np.array([0.1, 0.0, 0.2, 0.05, 100])}) == ""
    assert "finite" in why_damaged("masking", {"evidence-converged": np.array([0.1, 0.0, 0.2, 0.05, np.nan])})


def test_others_probes_may_leave_what_they_like():
    assert why_damaged("mine", {"anything": np.zeros((2, 3, 4), dtype=bool), "words": np.array(["a"])}) == ""


def test_all_committed_arrays_are_read():
    files = sorted(REFERENCE.glob("**/arrays/*.npz"))
    assert len(files) > 500
    for path in files[::3]:
        probe, _, epoch = path.stem.rpartition("-")
        assert Run.open(path.parents[1]).arrays(probe, int(epoch))
