"""`overfit-lab evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.cli import target as targets
from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, check_counts, split_names
from overfit_lab.cli.target import Target, check_split
from overfit_lab.errors import ConfigError
from overfit_lab.files.terminal import say_lines

if TYPE_CHECKING:
    from overfit_lab.evaluation.attackers import AttackOptions
    from overfit_lab.evaluation.outcome import Outcome
    from overfit_lab.probes.snapshot import Snapshot

CHANCE = 1.5
"""Clean accuracy below this multiple of chance gets a note that the weights may be used wrongly."""


def evaluate(
    target: targets.TargetArgument,
    attack: Annotated[
        str,
        typer.Option("--attack", help="Attacks, separated by commas: pgd, autoattack, its parts, square, transfer."),
    ] = "pgd",
    checkpoint: targets.CheckpointOption = "final",
    split: targets.SplitOption = "test",
    n: Annotated[int | None, typer.Option("--n", help="Samples of the split's fixed order; default all.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of PGD; default the run's.")] = None,
    restarts: Annotated[int, typer.Option("--restarts", help="Random starts, each on what is still right.")] = 1,
    step_size: Annotated[str | None, typer.Option("--step-size", help="Of PGD, such as 2/255.")] = None,
    loss: Annotated[str, typer.Option("--loss", help="Of PGD: ce, margin or dlr (3 classes or more).")] = "ce",
    queries: targets.QueriesOption = 5000,
    iterations: Annotated[int, typer.Option("--iterations", help="Steps of APGD and FAB.")] = 100,
    eps: Annotated[str | None, typer.Option("--eps", help="Radius, such as 8/255; default the run's.")] = None,
    norm: Annotated[str | None, typer.Option("--norm", help="linf or l2, with its --eps; default the run's.")] = None,
    source: targets.SourceOption = None,
    batch_size: targets.BatchOption = None,
    weights: targets.WeightsOption = "raw",
    model: targets.ModelOption = None,
    data: targets.DataOption = None,
    out: targets.FolderOption = None,
    assignments: SetOption = None,
    as_json: targets.JsonOption = False,
    again: Annotated[bool, typer.Option("--again", help="Attack anew what was evaluated before.")] = False,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Attack a trained model; keep the outcome of every sample, and the robust accuracy with a 95% interval.

    Stopped at any time, the same command goes on after the last whole batch and ends with the same outcome.
    """
    from overfit_lab.config.options import parse_options
    from overfit_lab.evaluation.attackers import Attacker

    names = _check(attack, split, n, batch_size, source)
    settings = {"n_steps": steps, "n_restarts": restarts, "step_size": step_size, "loss": loss}
    settings |= {"n_iter": iterations, "n_queries": queries, "eps": eps, "norm": norm}
    options: AttackOptions = parse_options(Attacker, settings, prefix="evaluate")
    opened = targets.open_target(
        target, checkpoint, weights, model, data, out=out, assignments=assignments, device=device, trust=trust
    )
    samples = {"split": split, "n": n, "batch_size": batch_size or opened.config.evaluation.chunk, "again": again}
    with targets.resumable():
        done = _run(opened, names, options, source, trust, samples)
    say_lines(json.dumps([to_json(*item) for item in done], indent=1) if as_json else _table(done, opened.folder))


def _check(attack: str, split: str, n: int | None, batch_size: int | None, source: str | None) -> list[str]:
    """Check the options before data and weights are read; return the names of the attacks."""
    from overfit_lab.config.catalog import ATTACKS
    from overfit_lab.evaluation.attackers import TRANSFER

    names = split_names(attack)
    if not names:
        raise ConfigError(f"--attack {attack!r}: expected one or more of {', '.join([*ATTACKS, TRANSFER])}")
    for name in names:
        if name != TRANSFER:
            ATTACKS[name]
    check_split(split)
    check_counts(" samples", n=n, batch_size=batch_size)
    if (source is None) == (TRANSFER in names):
        raise ConfigError(
            f"--source {source}: goes with --attack transfer"
            if source is not None
            else "--attack transfer needs --source: a run folder, RUN@CHECKPOINT or a weights file"
        )
    return names


def _run(
    target: Target, names: list[str], options: AttackOptions, source: str | None, trust: bool, samples: dict[str, Any]
) -> list[tuple[Snapshot, Outcome]]:
    from overfit_lab.cli.jobs import ShareProgress
    from overfit_lab.evaluation.attackers import make_attacker
    from overfit_lab.evaluation.store import evaluate_into
    from overfit_lab.records.naming import epoch_title

    transfer = target.source(source, trust=trust)
    n_classes = target.session.data.n_classes
    attackers = [make_attacker(name, target.config, options, transfer, n_classes) for name in names]
    done = []
    for snapshot in target.snapshots():
        for attacker in attackers:
            title = f"{target.config.name}, {epoch_title(snapshot.epoch)}, {snapshot.name_of(attacker.label)}"
            with ShareProgress(title) as progress:
                outcome = evaluate_into(target.folder, snapshot, attacker, on_progress=progress, **samples)
            done.append((snapshot, outcome))
    return done


def to_json(snapshot: Snapshot, outcome: Outcome) -> dict[str, Any]:
    """An outcome's numbers as JSON, without its arrays."""
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
        "gradients_not_finite": outcome.not_finite,
        "settings": outcome.settings,
    }


def _table(outcomes: list[tuple[Snapshot, Outcome]], folder: Path) -> str:
    from overfit_lab.cli.console import as_text, new_table
    from overfit_lab.records.naming import epoch_number

    numbers = ("clean %", "robust %", "95% interval", "right of n", "seconds")
    table = new_table("epoch", "attack", "split", *numbers, right=("epoch", *numbers))
    notes = []
    for snapshot, outcome in outcomes:
        low, high = outcome.interval()
        table.add_row(
            epoch_number(outcome.settings["epoch"]),
            snapshot.name_of(outcome.label),
            str(outcome.settings["split"]),
            f"{100 * outcome.clean_accuracy:.1f}",
            f"{100 * outcome.robust_accuracy:.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{int(outcome.robust.sum())} of {len(outcome)}",
            f"{outcome.seconds:.1f}",
        )
        if outcome.settings.get("n_restarts") == 1 and len(outcome.stages) > 1:
            for i, name in enumerate(outcome.stages):
                table.add_row("", f"  after {name}", "", "", f"{100 * outcome.accuracy_after(i):.1f}", "", "", "")
        notes += _notes(snapshot, outcome)
    return "\n".join([as_text(table), *dict.fromkeys(notes), f"outcome of every sample: {folder / 'evaluations'}"])


def _notes(snapshot: Snapshot, outcome: Outcome) -> list[str]:
    """Notes on numbers that should be doubted."""
    notes, stages = [], outcome.stages
    if outcome.clean_accuracy < CHANCE / snapshot.n_classes:
        notes.append(
            f"note: clean accuracy is about chance ({outcome.clean_accuracy:.1%} of {snapshot.n_classes} classes); are "
            "normalisation, class order and architecture those of training?"
        )
    if outcome.not_finite:
        notes.append(
            f"note: {outcome.label}: {outcome.not_finite} gradients of an image had entries that are not finite (as of "
            "a square root at 0); those counted as 0"
        )
    if "square" in stages[1:]:
        i = stages.index("square")
        gain = outcome.accuracy_after(i - 1) - outcome.accuracy_after(i)
        if gain > 0.002:
            notes.append(
                f"note: Square broke {gain:.1%} that resisted gradients, so they may be masked; see `overfit-lab check`"
            )
    return notes
