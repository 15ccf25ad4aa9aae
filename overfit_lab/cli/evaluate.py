"""`overfit-lab evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, split_names
from overfit_lab.cli.target import (
    CheckpointOption,
    DataOption,
    FolderOption,
    ModelOption,
    Target,
    TargetArgument,
    WeightsOption,
    note,
    open_target,
    resumable,
)
from overfit_lab.errors import ConfigError

if TYPE_CHECKING:
    from overfit_lab.evaluation.attackers import AttackOptions
    from overfit_lab.evaluation.outcome import Outcome
    from overfit_lab.probes.snapshot import Snapshot

CHANCE = 1.5
"""Clean accuracy below so many times chance is taken for a mistake in how the weights are used."""


def evaluate(
    target: TargetArgument,
    attack: Annotated[
        str,
        typer.Option("--attack", help="Attacks, separated by commas: pgd, autoattack, its parts, square, transfer."),
    ] = "pgd",
    checkpoint: CheckpointOption = "final",
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    n: Annotated[int | None, typer.Option("--n", help="Samples of the split's fixed order; default all.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of PGD; default the run's.")] = None,
    restarts: Annotated[int, typer.Option("--restarts", help="Random starts, each on what is still right.")] = 1,
    step_size: Annotated[str | None, typer.Option("--step-size", help="Of PGD, such as 2/255.")] = None,
    loss: Annotated[str, typer.Option("--loss", help="Of PGD: ce, margin or dlr.")] = "ce",
    queries: Annotated[int, typer.Option("--queries", help="Forward passes of Square.")] = 5000,
    iterations: Annotated[int, typer.Option("--iterations", help="Steps of APGD and FAB.")] = 100,
    eps: Annotated[str | None, typer.Option("--eps", help="Radius, such as 8/255; default the run's.")] = None,
    norm: Annotated[str | None, typer.Option("--norm", help="linf or l2; default the run's.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="RUN", help="RUN, RUN@CHECKPOINT or weights file, for transfer.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Samples at a time.")] = None,
    weights: WeightsOption = "raw",
    model: ModelOption = None,
    data: DataOption = None,
    out: FolderOption = None,
    assignments: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array and nothing else.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Attack anew what was evaluated before.")] = False,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Attack a trained model; keep the outcome of every sample, and the robust accuracy with a 95% interval.

    Stopped at any time, the same command goes on after the last whole batch and ends with the same outcome.
    """
    names = _check(attack, split, n, batch_size, source)
    options = _options(
        n_steps=steps,
        n_restarts=restarts,
        step_size=step_size,
        loss=loss,
        n_iter=iterations,
        n_queries=queries,
        eps=eps,
        norm=norm,
    )
    opened = open_target(
        target,
        checkpoint=checkpoint,
        weights=weights,
        model=model,
        data=data,
        out=out,
        assignments=assignments,
        device=device,
        trust=trust,
    )
    how = {"split": split, "n": n, "batch_size": batch_size or opened.config.evaluation.chunk, "again": again}
    with resumable():
        found = _run(opened, names, options, source, trust, how)
    typer.echo(json.dumps([to_json(*item) for item in found], indent=1) if as_json else _table(found, opened.folder))


def _check(attack: str, split: str, n: int | None, batch_size: int | None, source: str | None) -> list[str]:
    """The attacks' names; everything that can be checked before data and weights are read is."""
    from overfit_lab.config.catalog import ATTACKS
    from overfit_lab.evaluation.attackers import TRANSFER

    names = split_names(attack)
    if not names:
        raise ConfigError(f"--attack {attack!r}: expected one or more of {', '.join([*ATTACKS, TRANSFER])}")
    for name in names:
        if name != TRANSFER:
            ATTACKS[name]
    if split not in ("train", "val", "test"):
        raise ConfigError(f"--split {split!r}: expected train, val or test")
    for option, value in (("--n", n), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} {value}: expected 1 or more samples")
    if (source is None) == (TRANSFER in names):
        raise ConfigError(
            f"--source {source}: goes with --attack transfer"
            if source is not None
            else "--attack transfer needs --source: a run folder, RUN@CHECKPOINT or a weights file"
        )
    return names


def _options(**given: Any) -> AttackOptions:
    from overfit_lab.config.options import parse_options
    from overfit_lab.evaluation.attackers import Attacker

    options: AttackOptions = parse_options(Attacker, given, prefix="evaluate")
    return options


def _run(
    target: Target, names: list[str], options: AttackOptions, source: str | None, trust: bool, how: dict[str, Any]
) -> list[tuple[Snapshot, Outcome]]:
    from overfit_lab.cli.share import ShareProgress
    from overfit_lab.evaluation.attackers import make_attacker
    from overfit_lab.evaluation.source import open_source
    from overfit_lab.evaluation.store import evaluate_into

    session = target.session
    opened = None
    if source is not None:
        opened = open_source(source, target.config, session.data, session.device, trust=trust, on_note=note)
    attackers = [make_attacker(name, target.config, options, opened) for name in names]
    found = []
    for snapshot in target.snapshots():
        for attacker in attackers:
            title = f"{target.config.name}, epoch {snapshot.clock.epoch}, {snapshot.name_of(attacker.label)}"
            with ShareProgress(title) as progress:
                outcome = evaluate_into(target.folder, snapshot, attacker, on_progress=progress, **how)
            found.append((snapshot, outcome))
    return found


def to_json(snapshot: Snapshot, outcome: Outcome) -> dict[str, Any]:
    """An outcome's numbers, without its arrays."""
    low, high = outcome.interval()
    return {
        "epoch": outcome.settings["epoch"],
        "weights": outcome.settings["weights"],
        "attack": outcome.label,
        "split": outcome.settings["split"],
        "n": len(outcome),
        "acc_clean": outcome.clean_accuracy,
        "acc_adv": outcome.robust_accuracy,
        "interval": [low, high],
        "after": {name: outcome.accuracy_after(i) for i, name in enumerate(outcome.stages)},
        "seconds": outcome.seconds,
        "settings": outcome.settings,
    }


def _table(found: list[tuple[Snapshot, Outcome]], folder: Path) -> str:
    from rich.table import Table

    from overfit_lab.cli.console import as_text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("epoch", "attack", "split", "clean %", "robust %", "95% interval", "right of n", "seconds"):
        table.add_column(column, justify="left" if column in ("attack", "split") else "right")
    notes = []
    for snapshot, outcome in found:
        low, high = outcome.interval()
        right = f"{int(outcome.robust.sum())} of {len(outcome)}"
        table.add_row(
            str(outcome.settings["epoch"]),
            snapshot.name_of(outcome.label),
            str(outcome.settings["split"]),
            f"{100 * outcome.clean_accuracy:.1f}",
            f"{100 * outcome.robust_accuracy:.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
            right,
            f"{outcome.seconds:.1f}",
        )
        if outcome.settings.get("n_restarts") == 1 and len(outcome.stages) > 1:
            for i, name in enumerate(outcome.stages):
                table.add_row("", f"  after {name}", "", "", f"{100 * outcome.accuracy_after(i):.1f}", "", "", "")
        notes += _notes(snapshot, outcome)
    return "\n".join([as_text(table), *dict.fromkeys(notes), f"outcome of every sample: {folder / 'evaluations'}"])


def _notes(snapshot: Snapshot, outcome: Outcome) -> list[str]:
    """What a reader should know before believing the numbers."""
    notes = []
    if outcome.clean_accuracy < CHANCE / snapshot.n_classes:
        notes.append(
            f"note: clean accuracy is about chance ({outcome.clean_accuracy:.1%} of {snapshot.n_classes} classes); are "
            "normalisation, class order and architecture those of training?"
        )
    if "square" in outcome.stages[1:]:
        i = outcome.stages.index("square")
        gain = outcome.accuracy_after(i - 1) - outcome.accuracy_after(i)
        if gain > 0.002:
            notes.append(
                f"note: Square broke {gain:.1%} that resisted gradients, so they may be masked; see `overfit-lab check`"
            )
    return notes
