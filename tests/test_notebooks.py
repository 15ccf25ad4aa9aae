"""Every notebook runs from the committed records, and has been saved with its outputs."""

import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = [
    "calibration_trajectories",
    "fig1_gradient_norm_and_iiw",
    "fig2_label_modes",
    "fig3_confidence",
    "fig4_label_noise",
    "fig5_representations",
    "figb2_b3_calibration_and_confidence",
    "methods",
    "theory",
]
sys.path.insert(0, str(FOLDER))


def pictures(notebook):
    return [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def test_every_notebook_is_listed():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_saved_with_outputs_and_without_errors(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert pictures(notebook)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "@@" not in text
    assert "train_run" not in text, "notebooks draw from records"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_runs(name):
    from execute import execute

    fresh = execute(FOLDER / f"{name}.ipynb", save=False)
    saved = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert len(pictures(fresh)) == len(pictures(saved))
