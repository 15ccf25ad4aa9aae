"""A section of the report: its title, its place and its builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from overfit_lab.views.report.material import Material


@dataclass(frozen=True)
class Part:
    """A section's content on the page.

    Args:
        body: its HTML, without a heading; whatever came from a record is escaped in it.
        data: what its script reads, plain JSON types; numbers that are not finite become null.
    """

    body: Markup
    data: Any = None


@dataclass(frozen=True)
class Section:
    """One section of the report, registered under the name of its anchor; they stand in ascending order.

    ``build`` makes it of the runs, or None where there is nothing to say.
    """

    title: str
    order: int
    build: Callable[[Material], Part | None]
