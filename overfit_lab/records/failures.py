"""Probes that could not be measured while training went on: recorded each time, said once, noted in run.json."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from overfit_lab.files.terminal import to_stderr
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.recorder import FAILED, Recorder
from overfit_lab.records.writer import RunWriter
from overfit_lab.types import Clock

KEY = "failed_probes"
"""In run.json: of each probe that failed the first epoch at which it did, and the reason then."""


class Failures:
    """Takes what fails.

    Args:
        recorder: gets a record each time.
        writer: of the run folder, where there is one; what it notes is gone on with.
        on_note: told in one line of each probe and reason, once; default: a line on stderr.
    """

    def __init__(
        self, recorder: Recorder, writer: RunWriter | None, on_note: Callable[[str], None] | None = None
    ) -> None:
        self._recorder = recorder
        self._writer = writer
        self._on_note = on_note if on_note is not None else to_stderr
        self._noted: dict[str, dict[str, Any]] = {}
        self._said: set[tuple[str, str]] = set()
        if writer is not None:
            self._noted = _notes(layout.read_info(writer.folder).get(KEY))

    @property
    def reasons(self) -> MappingProxyType[str, str]:
        """Why each probe that failed did so the first time."""
        return MappingProxyType({name: str(note["reason"]) for name, note in self._noted.items()})

    def __call__(self, probe: str, reason: str, clock: Clock) -> None:
        """A probe failed."""
        self._recorder.failed(probe, clock)
        if probe not in self._noted:
            self._noted[probe] = {"epoch": clock.epoch, "reason": reason}
            self._write()
        if (probe, reason) not in self._said:
            self._said.add((probe, reason))
            self._on_note(f"{probe} failed at epoch {clock.epoch}, training goes on: {reason}")

    def forget_after(self, epoch: int) -> None:
        """A run is gone on with from an epoch: what failed later is yet to come."""
        earlier = {name: note for name, note in self._noted.items() if note["epoch"] <= epoch}
        if earlier != self._noted:
            self._noted = earlier
            self._write()

    def _write(self) -> None:
        if self._writer is not None and not self._writer.closed:
            self._writer.update_info(**{KEY: self._noted})


def _notes(content: Any) -> dict[str, dict[str, Any]]:
    """The notes that run.json holds; what is none is passed over."""
    entries = content.items() if isinstance(content, dict) else ()
    return {
        name: note
        for name, note in entries
        if isinstance(note, dict) and isinstance(note.get("epoch"), int) and isinstance(note.get("reason"), str)
    }


def failures_in(run: Run) -> list[str]:
    """What could not be measured of a run while it trained, a clause each.

    Such as ``hessian could not be measured from epoch 12 on (REASON)``.
    """
    rows, noted = run.records, _notes(run.info.get(KEY))
    clauses = []
    for name in sorted(rows.loc[rows["field"] == FAILED, "probe"].unique()):
        lines = rows[rows["probe"] == name]
        failed, measured = (
            sorted(set(lines.loc[which, "epoch"])) for which in (lines["field"] == FAILED, lines["field"] != FAILED)
        )
        when = f"at {len(failed)} of {len(set(failed) | set(measured))} measurements, first at epoch {failed[0]}"
        if not measured or measured[-1] < failed[0]:
            when = f"from epoch {failed[0]} on"
        reason = f" ({noted[name]['reason']})" if name in noted else ""
        clauses.append(f"{name} could not be measured {when}{reason}")
    return clauses
