"""Runs in, one HTML page out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from markupsafe import Markup

from overfit_lab import __version__
from overfit_lab.config.catalog import SECTIONS
from overfit_lab.errors import RunFolderError
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import check_threshold
from overfit_lab.views.diagnosis.phases_of import counting_from
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render, to_script, visible
from overfit_lab.views.report.section import Section

DEFAULT_TITLE = "Robust overfitting report"


def make_report(runs: Sequence[Run], title: str = DEFAULT_TITLE, threshold: float = THRESHOLD) -> str:
    """A page about some runs that names no address outside itself; the same runs give the same text.

    Args:
        runs: at least one.
        title: the page's heading.
        threshold: drop of accuracy that counts as overfitting, in (0, 1).

    Returns:
        HTML with style, script, data and images in it, and a policy that forbids a browser to load anything else.

    Raises:
        RunFolderError: no runs, or a damaged one.
        ConfigError: no such threshold.

    Cost:
        no passes; about a second a figure.
    """
    if not runs:
        raise RunFolderError("report: no runs to report on")
    check_threshold(threshold)
    material = Material(runs, title, threshold)
    ordered: list[tuple[str, Section]] = sorted(SECTIONS.items(), key=lambda item: (item[1].order, item[0]))
    with counting_from(threshold):
        built = [(name, section, section.build(material)) for name, section in ordered]
    parts = [(name, section.title, part) for name, section, part in built if part is not None]
    sheet, script = _static("report.css"), _static("report.js")
    text = render(
        "page.html",
        title=title,
        version=__version__,
        sheet=sheet,
        script=script,
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(sheet)}; script-src {_hash(script)}",
        sections=[(name, heading, part.body) for name, heading, part in parts],
        data=[(name, to_script(visible(part.data))) for name, _, part in parts if part.data is not None],
    )
    return str(text)


def _static(name: str) -> Markup:
    return Markup("\n" + files("overfit_lab.views.report").joinpath("static", name).read_text(encoding="utf-8"))


def _hash(text: str) -> Markup:
    """The hash by which the content security policy allows this style sheet or script, and no other."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
