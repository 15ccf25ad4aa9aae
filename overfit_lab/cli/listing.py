"""`overfit-lab list`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

import typer

KINDS = (
    "recipes",
    "studies",
    "models",
    "datasets",
    "attacks",
    "objectives",
    "labels",
    "regularizers",
    "schedules",
    "metrics",
    "priors",
    "checks",
    "figures",
    "tables",
    "sinks",
    "findings",
    "hardware",
    "backends",
)


def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS), metavar="|".join(KINDS))],
) -> None:
    """List what there is, with one line about each and its options."""
    from overfit_lab.errors import unknown_name

    if kind not in KINDS:
        raise unknown_name("list", kind, KINDS)
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "what it is", "options"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for name, component in entries(kind).items():
        table.add_row(name, first_line(component), ", ".join(options(kind, component)))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def entries(kind: str) -> Mapping[str, Any]:
    """The names of a kind and what they stand for."""
    from overfit_lab.config import catalog
    from overfit_lab.config.recipes import RECIPES, STUDIES

    registries: dict[str, Mapping[str, Any]] = {
        "recipes": RECIPES,
        "studies": STUDIES,
        "models": catalog.MODELS,
        "datasets": catalog.DATASETS,
        "attacks": catalog.ATTACKS,
        "objectives": catalog.OBJECTIVES,
        "labels": catalog.LABELS,
        "regularizers": catalog.REGULARIZERS,
        "schedules": catalog.SCHEDULES,
        "metrics": catalog.PROBES,
        "priors": catalog.PRIORS,
        "checks": catalog.CHECKS,
        "figures": catalog.FIGURES,
        "tables": catalog.TABLES,
        "sinks": catalog.SINKS,
        "findings": {name: question.find for name, question in catalog.FINDINGS.items()},
        "hardware": catalog.HARDWARE,
        "backends": catalog.BACKENDS,
    }
    return registries[kind]


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
    if kind not in ("models", "objectives", "labels", "regularizers", "schedules", "metrics", "backends"):
        return []
    model = options_model(component, MODEL_CONTEXT if kind == "models" else frozenset())
    if model is None:
        return []
    return [f"{name}={_plain(field.default)}" for name, field in model.model_fields.items()]


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(str(part) for part in value) + "]"
    return str(value)
