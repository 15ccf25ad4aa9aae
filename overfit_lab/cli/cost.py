"""`overfit-lab cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, check_counts, read_source, split_study
from overfit_lab.errors import ConfigError
from overfit_lab.files.terminal import say, say_lines

if TYPE_CHECKING:
    from overfit_lab.config import RunConfig
    from overfit_lab.sweeps.cost.hardware import Hardware
    from overfit_lab.sweeps.cost.workload import Workload


def cost(
    source: Annotated[str, typer.Argument(metavar="RECIPE|STUDY|CONFIG.yaml", help="What would be trained.")],
    assignments: SetOption = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="A device by name; default all. See `overfit-lab list hardware`.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Time a few steps of the run here, and take that rate.")
    ] = False,
    device: DeviceOption = "auto",
    devices: Annotated[int, typer.Option("--devices", metavar="D", help="Devices that share each batch.")] = 1,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="KEY=V1,V2,...", help="Each value of a key; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="As many runs of each.")] = 1,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="N_TRAIN,N_TEST,CxHxW,K", help="Size of a data set that is not here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust: TrustOption = False,
) -> None:
    """Say what training would cost: arithmetic, seconds on some hardware, memory, disk. Nothing is trained."""
    check_counts(seeds=seeds, devices=devices)
    if calibrate and hardware is not None:
        raise ConfigError("--calibrate and --hardware: give one of the two")
    source, assignments, axes = split_study(source, assignments, grid)
    config = read_source(source, assignments, trust=trust)
    works = _works(config, axes, data)
    on = _hardware(works[0], hardware, calibrate, device)
    _print(works, on, devices, seeds, as_json)


def _works(config: RunConfig, grid: list[str], size: str | None) -> list[Workload]:
    """The runs of a grid, one seed each."""
    from overfit_lab.sweeps.cost.data_shape import data_shape, parse_size
    from overfit_lab.sweeps.cost.workload import workload

    published = parse_size(size) if size is not None else None
    configs = [config]
    if grid:
        from overfit_lab.config import parse_config
        from overfit_lab.sweeps.axes import parse_axes
        from overfit_lab.sweeps.cells import expand

        cells = expand(config, parse_axes(grid), [config.seed])
        configs = [parse_config(cell.config, cell.name) for cell in cells]
    return [workload(run, data_shape(run.data, run.seed, published)) for run in configs]


def _hardware(work: Workload, name: str | None, calibrate: bool, device: str) -> dict[str, Hardware]:
    from overfit_lab.config.catalog import HARDWARE
    from overfit_lab.training.compute import resolve_device

    if calibrate:
        from overfit_lab.sweeps.cost.calibrate import calibrate as measured

        return {"here": measured(work, resolve_device(device))}
    return {name: HARDWARE[name]} if name is not None else dict(HARDWARE)


def _print(works: list[Workload], hardware: dict[str, Hardware], devices: int, seeds: int, as_json: bool) -> None:
    import json

    from overfit_lab.sweeps.cost import words
    from overfit_lab.sweeps.cost.estimate import price, total

    costs = {name: [price(work, machine, devices) for work in works] for name, machine in hardware.items()}
    if as_json:
        content = {
            name: {"runs": [run.to_dict() for run in runs], "seeds": seeds, "total": total(runs * seeds)}
            for name, runs in costs.items()
        }
        say_lines(json.dumps(content, indent=2))
        return
    of_first = [runs[0] for runs in costs.values()]
    single = len(works) * seeds == 1
    rows = words.table(of_first) if single else words.summed([runs * seeds for runs in costs.values()])
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        say(f"{name:{width}}  {text}")
    for line in words.notes(of_first):
        say(line)
