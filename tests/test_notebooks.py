"""Every notebook runs from the committed records, and has been saved with its outputs."""

import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
OWN_MODEL = "diagnose_your_own_model"
NAMES = [
    "calibration_trajectories",
    OWN_MODEL,
    "fig1_gradient_norm_and_iiw",
    "fig2_label_modes",
    "fig3_confidence",
    "fig4_label_noise",
    "fig5_representations",
    "figb2_b3_calibration_and_confidence",
    "figb4_b5_b7_noise_eps_schedules",
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
def test_runs(name, monkeypatch):
    """With fewer epochs where a notebook trains; the saved outputs are of all of them."""
    from execute import WIDGET, execute

    monkeypatch.setenv("OVERFIT_LAB_QUICK", "1")
    fresh = execute(FOLDER / f"{name}.ipynb", save=False)
    saved = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert len(pictures(fresh)) == len(pictures(saved))
    assert not [output for output in pictures(fresh) if WIDGET in output.data], (
        "kept in a saved notebook it shows an error"
    )
    if name == OWN_MODEL:
        assert len(sentences(fresh)) >= 3


def test_the_notebook_for_a_model_of_ones_own_ends_in_a_diagnosis_in_words():
    saved = nbformat.read(FOLDER / f"{OWN_MODEL}.ipynb", as_version=4)
    assert len(pictures(saved)) >= 4
    assert len(sentences(saved)) >= 3


def sentences(notebook):
    """What the cell with the diagnosis printed, by line."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and "diagnose(" in cell.source]
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return [line for line in printed.splitlines() if line.endswith(".")]


def test_a_saved_notebook_has_a_picture_in_the_place_of_a_widget():
    """Execution drops the live widget from the output where a picture stands beside it."""
    from execute import WIDGET, without_widgets

    both = nbformat.v4.new_output("display_data", {WIDGET: {"model_id": "1"}, "image/png": "aaaa"})
    alone = nbformat.v4.new_output("display_data", {WIDGET: {"model_id": "1"}, "text/plain": "x"})
    cell = nbformat.v4.new_code_cell("x", outputs=[both, alone])
    without_widgets(cell)
    assert list(cell.outputs[0].data) == ["image/png"]
    assert WIDGET in cell.outputs[1].data
