"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.config.permission import allow_everything
from overfit_lab.errors import ConfigError

if TYPE_CHECKING:
    from overfit_lab.config import RunConfig

RunsArgument = Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.", metavar="RUN...")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a configuration key; may be repeated.")
]
LeastDropOption = Annotated[
    float, typer.Option("--least-drop", help="Drop of test accuracy, in points, that counts as overfitting.")
]
LEAST_DROP = 1.0
"""Points that count unless a user says otherwise."""
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def _trusting(value: bool) -> bool:
    """Allow every import from here on, since the user typed --trust."""
    if value:
        allow_everything()
    return value


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", callback=_trusting, help="Import the package.module:Attribute names of the file or run folder."
    ),
]


def split_study(source: str, assignments: list[str] | None, grid: list[str] | None) -> tuple[str, list[str], list[str]]:
    """A study as its recipe, with its settings and axes before the user's; another source unchanged."""
    from overfit_lab.config.recipes import STUDIES

    if source not in STUDIES:
        return source, list(assignments or []), list(grid or [])
    study = STUDIES[source]
    return study.recipe, [*study.sets, *(assignments or [])], [*study.axes, *(grid or [])]


def read_source(source: str, assignments: list[str] | None, *, trust: bool = False) -> RunConfig:
    """The configuration of a recipe's name or a YAML file, with ``--set`` applied.

    A file that names code to import is refused without ``trust``; names given by ``--set`` are the user's own.

    A name that ends in .yaml or .yml, or that has a path separator in it, is a file.
    """
    from overfit_lab.config import apply_overrides, load_config
    from overfit_lab.config.recipes import recipe

    is_file = source.endswith((".yaml", ".yml")) or "/" in source
    config = load_config(Path(source)) if is_file else recipe(source)
    if is_file:
        from overfit_lab.config.trust import check_trusted

        check_trusted(config, source, trust=trust)
    return apply_overrides(config, assignments or [])


def yaml_value(option: str, assignment: str, text: str) -> Any:
    """The value of KEY=VALUE.

    Raises:
        ConfigError: it is not valid YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {assignment!r}: the value is not valid YAML") from error


def check_counts(unit: str = "", **options: int | None) -> None:
    """Refuse a number below 1.

    Raises:
        ConfigError: the first such option; it is written as on the command line.
    """
    for name, number in options.items():
        if number is not None and number < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {number}: expected 1 or more{unit}")


def split_names(text: str) -> list[str]:
    """Names separated by commas, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
