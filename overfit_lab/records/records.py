"""One measured number, and its line in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from overfit_lab.files.json_text import parse_line
from overfit_lab.files.limits import RECORD_BYTES
from overfit_lab.records.layout import IMPORTED

TRAINING, POSTHOC = "training", "posthoc"
"""Origins of a number: measured while training, or later from a checkpoint; or IMPORTED."""


@dataclass(frozen=True)
class Record:
    """One number of one probe at one moment.

    Args:
        epoch: completed epochs; imported weights have none, and 0 stands for it here.
        step: optimiser steps taken; None where that is not known.
        probe: name of the probe, or ``training`` or ``evaluation``.
        field: what the number is; ``name/part`` for one part of it.
        split: split that it was computed on, "" where none was.
        inputs: ``clean``, ``adversarial`` or "".
        labels: ``given``, ``true``, ``targets`` or "".
        value: the number; None where it is not finite.
        stderr: standard error, where the number is an estimate.
        n: samples that entered it; None where that is not known.
        seconds: how long the measurement took that it is part of.
        origin: ``training``, ``posthoc`` for a number that was measured later from a checkpoint, or ``imported``.
        via: the way to the derivatives in the weights that made it, "" where there is one way only.
    """

    epoch: int
    step: int | None
    probe: str
    field: str
    split: str
    inputs: str
    labels: str
    value: float | None
    stderr: float | None
    n: int | None
    seconds: float | None
    origin: str = TRAINING
    via: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "stderr", "seconds"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    def to_dict(self) -> dict[str, Any]:
        """Field names to plain values, in the order of the record format; no epoch or step of imported weights."""
        none = ("epoch", "step") if self.origin == IMPORTED else ()
        return {name: None if name in none else getattr(self, name) for name in FIELDS}

    def to_json(self) -> str:
        """One compact line; floats keep every digit. Origin and via are written where they are not the usual ones."""
        content = self.to_dict()
        for name, usual in USUAL.items():
            if content[name] == usual:
                del content[name]
        return json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of a line.

        Raises:
            ValueError: the line is no record.
        """
        if len(line) > RECORD_BYTES:
            raise ValueError(f"{len(line)} characters, expected {RECORD_BYTES} at most")
        content = parse_line(line)
        try:
            values = [content[name] if name not in USUAL else content.get(name, USUAL[name]) for name in FIELDS]
        except KeyError as error:
            raise ValueError(f"a record needs {error}") from error
        if values[ORIGIN] == IMPORTED:
            values[:2] = 0, 0
        if (kinds := tuple(map(type, values))) not in USUAL_KINDS:
            check_kinds(kinds, values)
        if not 0 <= values[0] <= LARGEST or any(
            n is not None and not 0 <= n <= LARGEST for n in (values[1], values[N])
        ):
            raise ValueError(f"epoch, step and n are {values[0]}, {values[1]} and {values[N]}, expected 0 to 2**53")
        return cls(*values)


FIELDS = tuple(field.name for field in fields(Record))
ORIGIN, N = FIELDS.index("origin"), FIELDS.index("n")
LARGEST = 2**53
"""Whole numbers above are not told apart by every reader of JSON."""
COUNT, NUMBER, TEXT = (int, type(None)), (float, int, type(None)), (str,)
KINDS = tuple(
    {"epoch": (int,), "step": COUNT, "n": COUNT, "value": NUMBER, "stderr": NUMBER, "seconds": NUMBER}.get(name, TEXT)
    for name in FIELDS
)
"""What the values of a line may be."""
WORDS = {COUNT: "a whole number", (int,): "a whole number", NUMBER: "a number", TEXT: "a text"}
MOST_KINDS = 1000
USUAL_KINDS: set[tuple[type, ...]] = set()
"""Kinds of the values of lines that were right, at most :data:`MOST_KINDS`: looked up in one go, as it is quicker."""
USUAL = {"origin": TRAINING, "via": ""}
"""What a line that lacks a key says."""
KEY = ("epoch", "probe", "field", "split", "inputs", "labels", "n")
"""What makes two records the same number; the one measured later stands."""


def check_kinds(kinds: tuple[type, ...], values: Sequence[Any]) -> None:
    """Refuse a value of a line that is of another kind than its field; kinds that are right are remembered.

    Raises:
        ValueError: the message names field and value.
    """
    for name, kind, value, right in zip(FIELDS, kinds, values, KINDS, strict=True):
        if kind not in right:
            raise ValueError(f"{name} {repr(value)[:60]} is not {WORDS[right]}")
        if kind is int and not -(10**300) < value < 10**300:
            raise ValueError(f"{name} has too many digits")
    if len(USUAL_KINDS) < MOST_KINDS and int not in (kinds[7], kinds[8], kinds[10]):
        USUAL_KINDS.add(kinds)


def standing(epochs: ArrayLike, n: ArrayLike, posthoc: ArrayLike) -> np.ndarray:
    """Which records of one number stand, as positions in order of their epochs.

    Of each epoch that of the most samples; of equal ones one measured later from a checkpoint, and else the last.
    Records without a value are to be left out before, so that a number which was not finite hides none.

    Args:
        epochs: of the records, in the order in which they were written.
        n: samples that entered each.
        posthoc: whether each was measured later from a checkpoint.
    """
    order = np.lexsort(np.array([posthoc, n, epochs]))
    of = np.asarray(epochs)[order]
    positions: np.ndarray = order[np.diff(of, append=of[-1:] + 1) != 0]
    return positions


def standing_records(records: Sequence[Record]) -> list[Record]:
    """Those of one number's records that stand, in order of their epochs; see :func:`standing`."""
    rows = [row for row in records if row.value is not None]
    if not rows:
        return []
    epochs, n, posthoc = zip(*((row.epoch, row.n or 0, row.origin != TRAINING) for row in rows), strict=True)
    return [rows[i] for i in standing(epochs, n, posthoc)]
