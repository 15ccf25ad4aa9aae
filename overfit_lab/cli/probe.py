"""`overfit-lab probe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.cli import target as targets
from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, check_counts, split_names, yaml_value
from overfit_lab.errors import ConfigError
from overfit_lab.files.terminal import say_lines

if TYPE_CHECKING:
    from overfit_lab.records.records import Record
    from overfit_lab.training.events import EventBus


def probe(
    target: targets.TargetArgument,
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
    weights: targets.WeightsOption = "raw",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of records and nothing else.")] = False,
    n: Annotated[int | None, typer.Option("--n", help="Samples to look at.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Most time: a share of the run's training (5%), or 30s, 2m. Chooses --n."),
    ] = None,
    model: targets.ModelOption = None,
    data: targets.DataOption = None,
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
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.training import probing

    shared: dict[str, Any] = {"splits": split_names(split or ""), "inputs": split_names(inputs or ""), "n": n}
    shared |= {"device": device, "on_note": targets.note, "budget": budget, "on_budget": _print_budget}
    if target.is_file():
        config = targets.weights_config(target, model, data, assignments or [])
        options: dict[str, dict[str, object]] = {} if prior is None else {"iiw": {"prior": prior}}
        shared |= {"which": None if weights == "raw" else weights}
        records = probing.probe_weights(target, metrics, config=config, reference=reference, options=options, **shared)
    else:
        targets.refuse_for_run(target, model=model, data=data, reference=reference)
        options = _run_options(assignments)
        if prior is not None:
            options["iiw"] = {**options.get("iiw", {}), "prior": prior}
        shared |= {"checkpoint": checkpoint, "weights": weights, "save": save, "trust": trust, "options": options}
        with TrainingProgress(target.name) as progress:

            def trained(name: str) -> EventBus:
                targets.note(f"prior {name} is trained first" + (f", and kept in {target / 'priors'}" if save else ""))
                return progress.follow_prior(name)

            records = probing.probe_run(target, metrics, prior_bus=trained, **shared)
    if as_json:
        say_lines(json.dumps([record.to_dict() for record in records], indent=1))
    else:
        _print_table(records)


def _check_prior(prior: str | None, reference: Path | None, metrics: list[str]) -> None:
    """Refuse --prior where no metric uses it."""
    if prior is None:
        return
    if "iiw" not in metrics:
        raise ConfigError(f"--prior {prior}: goes with --metric iiw")
    if reference is not None and prior != "initial":
        raise ConfigError(f"--prior {prior}: takes the place of --reference; give one of them")


def _check(metric: str, split: str | None, inputs: str | None, n: int | None) -> list[str]:
    """Check the options before data and weights are read; return the names of the metrics."""
    from overfit_lab.config.catalog import PROBES

    metrics = split_names(metric)
    if not metrics:
        raise ConfigError(f"--metric {metric!r}: expected one or more of {', '.join(PROBES)}")
    for name in metrics:
        PROBES[name]
    _check_choices("--split", split, ("train", "val", "test"))
    _check_choices("--inputs", inputs, ("clean", "adversarial", "noisy", "black-box"))
    check_counts(" samples", n=n)
    return metrics


def _check_choices(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Refuse a list of names that has others than the choices."""
    if value is not None and (not split_names(value) or set(split_names(value)) - set(choices)):
        raise ConfigError(f"{option} {value!r}: expected {', '.join(choices[:-1])} or {choices[-1]}")


def _run_options(assignments: list[str] | None) -> dict[str, dict[str, object]]:
    """A metric's options from ``--set METRIC.option=value``; a run folder has its own configuration."""
    options: dict[str, dict[str, object]] = {}
    for assignment in assignments or []:
        key, equals, text = assignment.partition("=")
        metric, dot, option = key.removeprefix("probes.options.").partition(".")
        if not equals or not dot:
            raise ConfigError(
                f"--set {assignment!r}: with a run folder expected METRIC.option=value, such as iiw.layers=false"
            )
        options.setdefault(metric, {})[option] = yaml_value("--set", assignment, text)
    return options


def _print_budget(content: dict[str, object]) -> None:
    """Print the budget on stderr, so that stdout has the records alone."""
    from overfit_lab.training.budget import in_words

    targets.note(in_words(content))


def _print_table(records: list[Record]) -> None:
    from overfit_lab.cli.console import new_table, show
    from overfit_lab.records.naming import epoch_number

    columns = ("epoch", "metric", "field", "split", "inputs", "value", "stderr", "n")
    table = new_table(*columns, right=("epoch", "value", "stderr", "n"))
    for r in records:
        value = "–" if r.value is None else f"{r.value:.5g}"
        error = "" if r.stderr is None else f"{r.stderr:.2g}"
        table.add_row(epoch_number(r.to_dict()["epoch"]), r.probe, r.field, r.split, r.inputs, value, error, str(r.n))
    show(table)
