"""One measured number, and its line in a file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Record:
    """One number of one probe at one moment.

    Args:
        epoch: completed epochs.
        step: optimiser steps taken.
        probe: name of the probe, or ``training`` or ``evaluation``.
        field: what the number is; ``name/part`` for one part of it.
        split: split that it was computed on, "" where none was.
        inputs: ``clean``, ``adversarial`` or "".
        labels: ``given``, ``true``, ``targets`` or "".
        value: the number; None where it is not finite.
        stderr: standard error, where the number is an estimate.
        n: samples that entered it.
        seconds: how long the measurement took that it is part of.
    """

    epoch: int
    step: int
    probe: str
    field: str
    split: str
    inputs: str
    labels: str
    value: float | None
    stderr: float | None
    n: int
    seconds: float | None

    def __post_init__(self) -> None:
        for name in ("value", "stderr", "seconds"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    def to_dict(self) -> dict[str, Any]:
        """Field names to plain values, in the order of the record format."""
        return {name: getattr(self, name) for name in FIELDS}

    def to_json(self) -> str:
        """One compact line; floats keep every digit."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of a line.

        Raises:
            ValueError: the line is no record.
        """
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("a record is a JSON object")
        try:
            return cls(**{name: content[name] for name in FIELDS})
        except KeyError as error:
            raise ValueError(f"a record needs {error}") from error


FIELDS = tuple(field.name for field in fields(Record))
KEY = ("epoch", "probe", "field", "split", "inputs", "labels", "n")
"""What makes two records the same number; the one measured later stands."""
