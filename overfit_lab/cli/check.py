"""`overfit-lab check`."""

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
    from overfit_lab.evaluation.attackers import AttackOptions, Source
    from overfit_lab.evaluation.checks.base import Share
    from overfit_lab.evaluation.checks.report import Report
    from overfit_lab.evaluation.outcome import Outcome
    from overfit_lab.probes.snapshot import Snapshot

SUSPICIOUS = 1
MARKS = {"passed": "passed", "suspicious": "SUSPICIOUS", "not run": "not run"}


def check(
    target: TargetArgument,
    checkpoint: CheckpointOption = "final",
    only: Annotated[
        str | None, typer.Option("--only", metavar="CHECK", help="Checks, by commas; see `overfit-lab list checks`.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    n: Annotated[int, typer.Option("--n", help="Samples of the split's fixed order.")] = 200,
    queries: Annotated[int, typer.Option("--queries", help="Forward passes of Square.")] = 1000,
    source: Annotated[
        str | None, typer.Option("--source", metavar="RUN", help="RUN, RUN@CHECKPOINT or weights file, for transfer.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help=".png, .pdf or .svg; default in the run folder.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 where something is suspicious.")] = False,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Samples at a time.")] = None,
    weights: WeightsOption = "raw",
    model: ModelOption = None,
    data: DataOption = None,
    out: FolderOption = None,
    assignments: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array and nothing else.")] = False,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Look for masked gradients: whether robust accuracy under gradient attacks can be believed.

    Every attack's outcome is kept in the run folder, so a check that was stopped goes on where it was.
    """
    from overfit_lab.config.catalog import CHECKS
    from overfit_lab.views.figures.style import check_path

    names = split_names(only) if only is not None else list(CHECKS)
    chosen = [(name, CHECKS[name]) for name in names]
    for option, number in (("--n", n), ("--batch-size", batch_size), ("--queries", queries)):
        if number is not None and number < 1:
            raise ConfigError(f"{option} {number}: expected 1 or more")
    if split not in ("train", "val", "test"):
        raise ConfigError(f"--split {split!r}: expected train, val or test")
    if picture is not None:
        check_path(picture)
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
    how = {"split": split, "n": n, "batch_size": batch_size or opened.config.evaluation.chunk}
    with resumable():
        found = _run(opened, chosen, source, queries, trust, how)
    path = _draw(opened, picture)
    if as_json:
        typer.echo(json.dumps([to_json(*item) for item in found], indent=1))
    else:
        typer.echo("\n".join([*(_text(*item) for item in found), f"picture: {path}"]))
    if strict and any(report.suspicious for _, report in found):
        raise typer.Exit(SUSPICIOUS)


def _run(
    target: Target, chosen: list[tuple[str, Any]], source: str | None, queries: int, trust: bool, how: dict[str, Any]
) -> list[tuple[Snapshot, Report]]:
    from overfit_lab.cli.share import ShareProgress
    from overfit_lab.evaluation.checks.base import Bench
    from overfit_lab.evaluation.checks.report import run_checks
    from overfit_lab.evaluation.source import open_source
    from overfit_lab.evaluation.store import record_measurement

    session = target.session
    opened = None
    if source is not None:
        opened = open_source(source, target.config, session.data, session.device, trust=trust, on_note=note)
    found = []
    for snapshot in target.snapshots():
        with ShareProgress(f"{target.config.name}, epoch {snapshot.clock.epoch}") as progress:
            runner = _Runner(target, snapshot, how, progress, len(chosen))
            bench = Bench(
                snapshot, target.config, runner, split=how["split"], n=how["n"], source=opened, n_queries=queries
            )
            report = run_checks(bench, chosen, runner.begin)
            progress(1.0, "done")
        record_measurement(target.folder, snapshot, "masking", report.measurement())
        found.append((snapshot, report))
    return found


class _Runner:
    """Runs the attacks of checks into the run folder, and says how far they are."""

    def __init__(self, target: Target, snapshot: Snapshot, how: dict[str, Any], progress: Any, n_checks: int) -> None:
        self.target, self.snapshot, self.how, self.progress = target, snapshot, how, progress
        self.n_checks, self.number, self.check = n_checks, 0, "own evaluation"

    def begin(self, name: str, number: int) -> None:
        """A check begins."""
        self.check, self.number = name, number
        self.progress(number / self.n_checks, name)

    def __call__(self, name: str, options: AttackOptions, source: Source | None) -> Outcome:
        """Run one attack, or take its outcome from the folder."""
        from overfit_lab.evaluation.attackers import make_attacker
        from overfit_lab.evaluation.store import evaluate_into

        attacker = make_attacker(name, self.target.config, options, source)

        def tell(share: float, text: str) -> None:
            self.progress(self.number / self.n_checks, f"{self.check}: {attacker.label} {share:.0%}")

        return evaluate_into(self.target.folder, self.snapshot, attacker, on_progress=tell, **self.how)


def _draw(target: Target, picture: Path | None) -> Path:
    from overfit_lab.records.reader import Run
    from overfit_lab.views.figures.masking import draw
    from overfit_lab.views.figures.style import save

    path = picture if picture is not None else target.folder / "masking.png"
    save(draw([Run(target.folder)]), path)
    return path


def to_json(snapshot: Snapshot, report: Report) -> dict[str, Any]:
    """A report's numbers and sentences."""
    return {
        "epoch": snapshot.clock.epoch,
        "weights": snapshot.weights,
        "verdict": report.verdict,
        "suspicious": [finding.check for finding in report.suspicious],
        "worst": report.worst.value,
        "own": report.run_evaluation.value,
        "checks": [
            {
                "check": finding.check,
                "expects": finding.expects,
                "status": finding.status,
                "says": finding.text,
                "limit": finding.limit,
                "evidence": None if finding.evidence is None else share_to_json(finding.evidence),
                "curve": [{"at": x, **share_to_json(share)} for x, share in finding.curve],
            }
            for finding in report.findings
        ],
    }


def share_to_json(share: Share) -> dict[str, Any]:
    """A share with its interval."""
    return {"what": share.name, "value": share.value, "interval": list(share.bounds), "n": share.n}


def _text(snapshot: Snapshot, report: Report) -> str:
    from rich.table import Table

    from overfit_lab.cli.console import as_text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "", "expects", "found"):
        table.add_column(column)
    for finding in report.findings:
        table.add_row(finding.check, MARKS[finding.status], finding.expects, finding.text)
    head = f"epoch {snapshot.clock.epoch}, {report.worst.n} samples of {report.split}"
    return "\n".join([head, as_text(table), report.verdict])
