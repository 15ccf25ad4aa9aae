"""`overfit-lab check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overfit_lab.cli import target as targets
from overfit_lab.cli.source import DeviceOption, SetOption, TrustOption, check_counts, split_names
from overfit_lab.cli.target import Target, check_split
from overfit_lab.files.terminal import say_lines

if TYPE_CHECKING:
    from overfit_lab.evaluation.attackers import AttackOptions, Source
    from overfit_lab.evaluation.checks.base import Share
    from overfit_lab.evaluation.checks.report import Report
    from overfit_lab.evaluation.outcome import Outcome
    from overfit_lab.probes.snapshot import Snapshot

SUSPICIOUS = 1
MARKS = {"passed": "passed", "suspicious": "SUSPICIOUS", "not run": "not run"}


def check(
    target: targets.TargetArgument,
    checkpoint: targets.CheckpointOption = "final",
    only: Annotated[
        str | None, typer.Option("--only", metavar="CHECK", help="Checks, by commas; see `overfit-lab list checks`.")
    ] = None,
    split: targets.SplitOption = "test",
    n: Annotated[int, typer.Option("--n", help="Samples of the split's fixed order.")] = 200,
    queries: targets.QueriesOption = 1000,
    source: targets.SourceOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help=".png, .pdf or .svg; default in the run folder.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 where something is suspicious.")] = False,
    batch_size: targets.BatchOption = None,
    weights: targets.WeightsOption = "raw",
    model: targets.ModelOption = None,
    data: targets.DataOption = None,
    out: targets.FolderOption = None,
    assignments: SetOption = None,
    as_json: targets.JsonOption = False,
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
    check_counts(n=n, batch_size=batch_size, queries=queries)
    check_split(split)
    if picture is not None:
        check_path(picture)
    opened = targets.open_target(
        target, checkpoint, weights, model, data, out=out, assignments=assignments, device=device, trust=trust
    )
    samples = {"split": split, "n": n, "batch_size": batch_size or opened.config.evaluation.chunk}
    with targets.resumable():
        reports = _run(opened, chosen, source, queries, trust, samples)
    path = _draw(opened, picture)
    if as_json:
        say_lines(json.dumps([to_json(*item) for item in reports], indent=1))
    else:
        say_lines("\n".join([*(_text(*item) for item in reports), f"picture: {path}"]))
    if strict and any(report.suspicious for _, report in reports):
        raise typer.Exit(SUSPICIOUS)


def _run(
    target: Target,
    chosen: list[tuple[str, Any]],
    source: str | None,
    queries: int,
    trust: bool,
    samples: dict[str, Any],
) -> list[tuple[Snapshot, Report]]:
    from overfit_lab.cli.jobs import ShareProgress
    from overfit_lab.evaluation.checks.base import Bench
    from overfit_lab.evaluation.checks.report import run_checks
    from overfit_lab.evaluation.store import record_measurement
    from overfit_lab.records.naming import epoch_title

    transfer = target.source(source, trust=trust)
    reports = []
    for snapshot in target.snapshots():
        with ShareProgress(f"{target.config.name}, {epoch_title(snapshot.epoch)}") as progress:
            runner = _Runner(target, snapshot, samples, progress, len(chosen))
            split, n = samples["split"], samples["n"]
            bench = Bench(snapshot, target.config, runner, split=split, n=n, source=transfer, n_queries=queries)
            report = run_checks(bench, chosen, runner.begin)
            progress(1.0, "done")
        record_measurement(target.folder, snapshot, "masking", report.measurement())
        reports.append((snapshot, report))
    return reports


class _Runner:
    """Runs the attacks of the checks, records their outcomes in the run folder and shows progress."""

    def __init__(
        self, target: Target, snapshot: Snapshot, samples: dict[str, Any], progress: Any, n_checks: int
    ) -> None:
        self.target, self.snapshot, self.samples, self.progress = target, snapshot, samples, progress
        self.n_checks, self.number, self.check = n_checks, 0, "own evaluation"

    def begin(self, name: str, number: int) -> None:
        """Show that a check begins."""
        self.check, self.number = name, number
        self.progress(number / self.n_checks, name)

    def __call__(self, name: str, options: AttackOptions, source: Source | None) -> Outcome:
        """Run one attack, or read its outcome from the run folder."""
        from overfit_lab.evaluation.attackers import make_attacker
        from overfit_lab.evaluation.store import evaluate_into

        attacker = make_attacker(name, self.target.config, options, source)

        def tell(share: float, text: str) -> None:
            self.progress(self.number / self.n_checks, f"{self.check}: {attacker.label} {share:.0%}")

        return evaluate_into(self.target.folder, self.snapshot, attacker, on_progress=tell, **self.samples)


def _draw(target: Target, picture: Path | None) -> Path:
    from overfit_lab.records.reader import Run
    from overfit_lab.views.figures.masking import draw
    from overfit_lab.views.figures.style import save

    path = picture if picture is not None else target.folder / "masking.png"
    save(draw([Run(target.folder)]), path)
    return path


def to_json(snapshot: Snapshot, report: Report) -> dict[str, Any]:
    """A report as JSON."""
    return {
        "epoch": snapshot.epoch,
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
    """A share and its interval as JSON."""
    return {"what": share.name, "value": share.value, "interval": list(share.bounds), "n": share.n}


def _text(snapshot: Snapshot, report: Report) -> str:
    from overfit_lab.cli.console import as_text, new_table
    from overfit_lab.records.naming import epoch_title

    table = new_table("check", "", "expects", "found")
    for finding in report.findings:
        table.add_row(finding.check, MARKS[finding.status], finding.expects, finding.text)
    head = f"{epoch_title(snapshot.epoch)}, {report.worst.n} samples of {report.split}"
    return "\n".join([head, as_text(table), report.verdict])
