"""`overfit-lab data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.files.terminal import say

app = typer.Typer(help="Get data sets.", no_args_is_help=False)


@app.callback()
def root() -> None:
    """Get data sets."""


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="cifar10, cifar100, svhn, mnist or fashion-mnist.")],
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder; default $OVERFIT_LAB_DATA or ~/.cache/overfit-lab/data.")
    ] = None,
) -> None:
    """Download a public data set."""
    from overfit_lab.data import dataset

    say(f"{name}: {dataset.fetch(name, root)}")
