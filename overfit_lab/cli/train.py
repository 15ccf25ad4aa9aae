"""`overfit-lab train`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, read_source


def train(
    source: Annotated[str, typer.Argument(metavar="RECIPE|CONFIG.yaml", help="What to train.")],
    assignments: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default runs/RECIPE-seedN.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Train a model and record everything; Ctrl-C leaves a run that --resume goes on with."""
    config = read_source(source, assignments, trust=trust)
    folder = out if out is not None else Path("runs") / f"{config.name}-seed{config.seed}"
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.experiment import train_run
    from overfit_lab.training.events import EventBus

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop leaves a resumable run too
    bus = EventBus()
    with TrainingProgress(folder.name) as progress:
        progress.subscribe(bus)
        status = train_run(config, folder, resume=resume, device=device, bus=bus)
    if status == "interrupted":
        typer.echo(f"overfit-lab: interrupted; the same command with --resume goes on in {folder}", err=True)
        raise typer.Exit(130)
    typer.echo(f"{status}: {folder}")
    typer.echo(f"next: overfit-lab figure overview {folder} --out overview.png")
