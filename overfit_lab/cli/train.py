"""`overfit-lab train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.devices import SharedRun, tell_end
from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, read_source, split_names, split_study
from overfit_lab.cli.target import note
from overfit_lab.errors import ConfigError


def train(
    source: Annotated[str, typer.Argument(metavar="RECIPE|STUDY|CONFIG.yaml", help="What to train.")],
    assignments: SetOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; default runs/RECIPE-seedN or runs/RECIPE-grid.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=V1,V2,...", help="Train with each value of a key; may be repeated."),
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", metavar="N", help="Train with N seeds.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", help="Runs of a grid at a time.")] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="SINK,...", help="Mirror the records: tensorboard, wandb, trackio."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", help="Processes that share each batch, one a device."),
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", metavar="M", help="Machines; run this command on each.")] = 1,
    node_rank: Annotated[int, typer.Option("--node-rank", metavar="R", help="Number of this machine, from 0.")] = 0,
    rendezvous: Annotated[
        str | None,
        typer.Option("--rendezvous", metavar="HOST:PORT", help="The first machine and a free port there."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Give up a process that does not answer for so long.")
    ] = 600.0,
) -> None:
    """Train a model and record everything; Ctrl-C leaves a run that --resume goes on with.

    With --grid or --seeds every combination is trained, each into a run folder of its own below --out: a sweep, which
    `overfit-lab sweep` goes on with too. A study is a recipe with a grid. With --devices several processes share each
    batch; torchrun can start them as well.
    """
    sinks = split_names(log or "")
    name = source
    source, assignments, axes = split_study(source, assignments, grid)
    if name != source and out is None:
        out = Path("runs") / name
    config = read_source(source, assignments, trust=trust)
    shared = SharedRun(devices, nodes, node_rank, rendezvous, timeout)
    if axes or seeds is not None:
        shared.refuse_grid()
        from overfit_lab.cli.grid import train_grid

        n_seeds = 1 if seeds is None else seeds
        train_grid(config, axes, n_seeds, out, jobs=jobs, resume=resume, device=device, sinks=sinks)
        return
    if jobs is not None:
        raise ConfigError("--jobs goes with --grid or --seeds")
    folder = out if out is not None else Path("runs") / f"{config.name}-seed{config.seed}"
    if shared.is_wanted:
        shared.train(config, folder, resume=resume, device=device, trust=trust, sinks=sinks)
        return
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.training.events import EventBus
    from overfit_lab.training.run import train_run

    bus = EventBus()
    with TrainingProgress(folder.name) as progress:
        progress.subscribe(bus)
        status = train_run(
            config,
            folder,
            resume=resume,
            device=device,
            bus=bus,
            trust=trust,
            teacher_bus=progress.follow,
            prior_bus=progress.follow_prior,
            sinks=sinks,
            on_note=note,
        )
    tell_end(status, folder)
