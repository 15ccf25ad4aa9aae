"""The outputs on docs/import.md are what the commands print."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import draw_import  # noqa: E402

from overfit_lab.config.catalog import FORMATS  # noqa: E402


def test_the_outputs_are_current():
    assert draw_import.PAGE.read_text() == draw_import.page(), "run python docs/draw_import.py"


def test_every_format_is_on_the_page():
    text = draw_import.PAGE.read_text()
    assert [name for name in FORMATS if f"| `{name}` |" not in text] == []
