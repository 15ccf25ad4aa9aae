"""The gallery has every registered figure, and its page is what its script writes."""

import importlib.util
from pathlib import Path

import pytest

from overfit_lab.config.catalog import FIGURES

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("draw_gallery", DOCS / "draw_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_registered_figure_is_in_the_gallery(name, gallery):
    assert name in gallery.entries(), f"add docs/gallery/{name}.yaml and run docs/draw_gallery.py"


def test_the_page_is_what_the_script_writes(gallery):
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.text(), "run docs/draw_gallery.py"


def test_every_entry_is_of_a_registered_figure_with_committed_runs_and_a_small_picture(gallery):
    for name, entry in gallery.entries().items():
        assert name in FIGURES
        assert all(list(gallery.RUNS.glob(pattern)) for pattern in entry["runs"]), name
        assert (gallery.PICTURES / f"{name}.png").stat().st_size < 90_000, name


def test_a_picture_has_the_size_that_the_page_is_made_for(gallery, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(gallery, "PICTURES", tmp_path)
    path = gallery.draw("figb2", gallery.entries()["figb2"])
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.width == round(6.9 * gallery.DPI)
