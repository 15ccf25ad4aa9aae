"""The slider: a live widget where there is one, a picture everywhere."""

import base64
import builtins
import subprocess
import sys

import pytest

from overfit_lab.errors import RunFolderError, UnknownNameError
from overfit_lab.files.arrays import write_arrays
from overfit_lab.records import layout
from overfit_lab.views.widgets.epoch_slider import epoch_slider
from run_factory import make_run

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = make_run(tmp_path_factory.mktemp("slider") / "r")
    arrays = found.arrays("calibration", 20)
    arrays["reliability-test-clean"][:, 1] /= 2
    write_arrays(layout.arrays_path(found.folder, "calibration", 10), arrays)
    return found


def test_moving_the_slider_changes_the_picture(run):
    shown = epoch_slider(run, "reliability")
    slider, image = shown.widget.children
    assert slider.options == (10, 20)
    assert image.value == shown.picture(20)
    slider.value = 10
    assert image.value == shown.picture(10) != shown.picture(20)
    slider.value = 20
    assert image.value == shown.picture(20)


def test_a_picture_is_drawn_once(run, monkeypatch):
    shown = epoch_slider(run)
    first = shown.picture(10)
    monkeypatch.setattr("overfit_lab.views.widgets.epoch_slider.as_png", lambda figure: pytest.fail("drawn again"))
    assert shown.picture(10) is first


def test_the_output_has_a_widget_and_a_picture_of_a_few_epochs(run):
    shown = epoch_slider(run)
    content, about = shown._repr_mimebundle_()
    assert WIDGET in content
    assert base64.b64decode(content["image/png"]) == shown.still
    assert shown.still.startswith(b"\x89PNG")
    assert about["image/png"]["width"] == 350


def test_without_ipywidgets_the_picture_remains(run, monkeypatch):
    imported = builtins.__import__

    def refusing(name, *rest, **more):
        if name == "ipywidgets":
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refusing)
    content, _ = epoch_slider(run)._repr_mimebundle_()
    assert WIDGET not in content
    assert content["image/png"]


def test_what_cannot_be_shown_is_said(run, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown figure over epochs 'maps'; did you mean map"):
        epoch_slider(run, "maps")
    with pytest.raises(RunFolderError, match="nothing to draw confidence from"):
        epoch_slider(make_run(tmp_path / "bare", probes=False), "confidence")


def test_importing_it_needs_no_widgets():
    code = "import sys, overfit_lab.views.widgets.epoch_slider; assert 'ipywidgets' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
