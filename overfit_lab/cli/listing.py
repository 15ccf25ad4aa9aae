"""`overfit-lab list`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

import typer

METAVAR = (
    "recipes|studies|models|datasets|attacks|objectives|labels|regularizers|schedules|metrics|priors|checks|figures|"
    "tables|sinks|findings|formats|hardware|backends"
)
KINDS = METAVAR.split("|")
WITH_OPTIONS = ("models", "objectives", "labels", "regularizers", "schedules", "metrics", "backends")


def list_(kind: Annotated[str, typer.Argument(help=", ".join(KINDS), metavar=METAVAR)]) -> None:
    """List what there is, with one line about each and its options."""
    from overfit_lab.errors import unknown_name

    if kind not in KINDS:
        raise unknown_name("list", kind, KINDS)
    from overfit_lab.cli.console import new_table, show

    table = new_table("name", "what it is", "options", overflow="fold")
    table.columns[0].no_wrap = True
    for name, component in entries(kind).items():
        table.add_row(name, first_line(component), ", ".join(options(kind, component)))
    show(table, 200)


def entries(kind: str) -> Mapping[str, Any]:
    """The registry of a kind: names and components."""
    from overfit_lab.config import catalog, recipes

    name = "PROBES" if kind == "metrics" else kind.upper()
    registry: Mapping[str, Any] = getattr(recipes if kind in ("recipes", "studies") else catalog, name)
    function = {"findings": "find", "formats": "read"}.get(kind)
    return {name: getattr(part, function) for name, part in registry.items()} if function else registry


def first_line(component: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    paragraph = (inspect.getdoc(component) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "")


def options(kind: str, component: Any) -> list[str]:
    """``name=default`` of each option."""
    from overfit_lab.config.options import options_model
    from overfit_lab.models.factory import MODEL_CONTEXT

    if kind == "studies":
        return [component.recipe, *component.sets, *component.axes]
    if kind not in WITH_OPTIONS:
        return []
    model = options_model(component, MODEL_CONTEXT if kind == "models" else frozenset())
    if model is None:
        return []
    return [f"{name}={_plain(field.default)}" for name, field in model.model_fields.items()]


def _plain(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
