"""`overfit-lab config`."""

from __future__ import annotations

from typing import Annotated

import typer

from overfit_lab.cli.source import SetOption, TrustOption, read_source
from overfit_lab.files.terminal import say_lines


def config(
    source: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or a YAML file.")],
    assignments: SetOption = None,
    trust: TrustOption = False,
) -> None:
    """Print a complete configuration as YAML, which `train` takes back."""
    from overfit_lab.config import to_yaml
    from overfit_lab.training.complete import complete

    say_lines(to_yaml(complete(read_source(source, assignments, trust=trust))).rstrip("\n"))
