"""`overfit-lab probe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, split_names
from overfit_lab.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from overfit_lab.records.records import Record
    from overfit_lab.training.events import EventBus


def probe(
    target: Annotated[Path, typer.Argument(help="A run folder, or a weights file with --model and --data.")],
    metric: Annotated[
        str, typer.Option("--metric", help="Metrics, separated by commas; see `overfit-lab list metrics`.")
    ],
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="best, final, initial, all, or an epoch.", metavar="WHICH")
    ] = "final",
    split: Annotated[
        str | None, typer.Option("--split", help="train, val, test, commas between; default the metric's own.")
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", help="clean, adversarial, noisy, black-box; default the metric's own."),
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="NAME", help="raw, or the regularizer that keeps others, such as swa.")
    ] = "raw",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of records and nothing else.")] = False,
    n: Annotated[int | None, typer.Option("--n", help="Samples to look at.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Most time: a share of the run's training (5%), or 30s, 2m. Chooses --n."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The architecture of a weights file.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="The data set to measure a weights file on.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Weights to compare with (theta_0), for iiw on a weights file.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option("--prior", help="theta_0 of iiw: initial, held-out, RUN, RUN@CHECKPOINT or a weights file."),
    ] = None,
    assignments: SetOption = None,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Also write the records to the run folder.")] = True,
) -> None:
    """Measure checkpoints of a run, or a weights file."""
    metrics = _check(metric, split, inputs, n)
    _check_prior(prior, reference, metrics)
    splits, kinds = split_names(split or ""), split_names(inputs or "")
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.training import probing

    shared: dict[str, Any] = {
        "splits": splits,
        "inputs": kinds,
        "n": n,
        "device": device,
        "on_note": _note,
        "budget": budget,
        "on_budget": _print_budget,
    }
    if target.is_file():
        if weights != "raw":
            raise ConfigError(f"--weights {weights}: goes with a run folder; a weights file has one set of weights")
        config = _weights_config(target, model, data, assignments)
        options = _of_prior(prior)
        records = probing.probe_weights(target, metrics, config=config, reference=reference, options=options, **shared)
    else:
        options = _run_options(target, model, data, reference, assignments)
        if prior is not None:
            options["iiw"] = {**options.get("iiw", {}), **_of_prior(prior)["iiw"]}
        shared |= {"checkpoint": checkpoint, "weights": weights, "save": save, "trust": trust, "options": options}
        with TrainingProgress(target.name) as progress:

            def trained(name: str) -> EventBus:
                _note(f"prior {name} is trained first" + (f", and kept in {target / 'priors'}" if save else ""))
                return progress.follow_prior(name)

            records = probing.probe_run(target, metrics, prior_bus=trained, **shared)
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records], indent=1))
    else:
        _print_table(records)


def _note(text: str) -> None:
    """Something that the user should know, on stderr."""
    typer.echo(f"overfit-lab: {text}", err=True)


def _of_prior(prior: str | None) -> dict[str, dict[str, object]]:
    """The options that ``--prior`` stands for."""
    return {"iiw": {"prior": prior}} if prior is not None else {}


def _check_prior(prior: str | None, reference: Path | None, metrics: list[str]) -> None:
    """Refuse a prior that nothing would take."""
    if prior is None:
        return
    if "iiw" not in metrics:
        raise ConfigError(f"--prior {prior}: goes with --metric iiw")
    if reference is not None and prior != "initial":
        raise ConfigError(f"--prior {prior}: takes the place of --reference; give one of them")


def _check(metric: str, split: str | None, inputs: str | None, n: int | None) -> list[str]:
    """The metrics' names; everything that can be checked before data and weights are read is."""
    from overfit_lab.config.catalog import PROBES

    metrics = split_names(metric)
    if not metrics:
        raise ConfigError(f"--metric {metric!r}: expected one or more of {', '.join(PROBES)}")
    for name in metrics:
        PROBES[name]
    _check_choices("--split", split, ("train", "val", "test"))
    _check_choices("--inputs", inputs, ("clean", "adversarial", "noisy", "black-box"))
    if n is not None and n < 1:
        raise ConfigError(f"--n {n}: expected 1 or more samples")
    return metrics


def _check_choices(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Refuse names, separated by commas, that are no choices."""
    if value is not None and (not split_names(value) or set(split_names(value)) - set(choices)):
        raise ConfigError(f"{option} {value!r}: expected {', '.join(choices[:-1])} or {choices[-1]}")


def _weights_config(target: Path, model: str | None, data: str | None, assignments: list[str] | None):  # type: ignore[no-untyped-def]
    from overfit_lab.config import RunConfig, apply_overrides

    if model is None or data is None:
        raise ConfigError(f"{target}: a weights file needs --model NAME and --data NAME")
    return apply_overrides(RunConfig(), [f"model.name={model}", f"data.name={data}", *(assignments or [])])


def _run_options(
    target: Path, model: str | None, data: str | None, reference: Path | None, assignments: list[str] | None
) -> dict[str, dict[str, object]]:
    """A run folder has its own model and data; ``--set METRIC.option=value`` gives a metric's options."""
    import yaml

    for option, value in (("--model", model), ("--data", data), ("--reference", reference)):
        if value is not None:
            if not target.exists():
                raise RunFolderError(f"{target}: no such weights file or run folder")
            raise ConfigError(f"{option} goes with a weights file; the run in {target} has its own")
    options: dict[str, dict[str, object]] = {}
    for assignment in assignments or []:
        key, equals, text = assignment.partition("=")
        metric, dot, option = key.removeprefix("probes.options.").partition(".")
        if not equals or not dot:
            raise ConfigError(
                f"--set {assignment!r}: with a run folder expected METRIC.option=value, such as iiw.layers=false"
            )
        try:
            options.setdefault(metric, {})[option] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment!r}: the value is not valid YAML") from error
    return options


def _print_budget(content: dict[str, object]) -> None:
    """On stderr, so that what is printed is the records alone."""
    from overfit_lab.training.budget import in_words

    typer.echo(f"overfit-lab: {in_words(content)}", err=True)


def _print_table(records: list[Record]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("epoch", "metric", "field", "split", "inputs", "value", "stderr", "n"):
        table.add_column(column, justify="right" if column in ("epoch", "value", "stderr", "n") else "left")
    for r in records:
        value = "–" if r.value is None else f"{r.value:.5g}"
        error = "" if r.stderr is None else f"{r.stderr:.2g}"
        table.add_row(str(r.epoch), r.probe, r.field, r.split, r.inputs, value, error, str(r.n))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
