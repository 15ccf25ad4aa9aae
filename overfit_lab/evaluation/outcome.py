"""The outcome of an attack for each sample, in memory and in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.arrays import read_arrays, write_arrays
from overfit_lab.files.json_text import parse_json
from overfit_lab.probes.metrics.proportion import interval
from overfit_lab.types import Value

ROBUST = -1
WRONG = -2
NOTES = ("label", "stages", "settings", "stage", "done", "seconds", "made", "not_finite")
ARRAYS = ("index", "y", "clean_prediction", "prediction", "broken_by", "logits", "members")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attack, also while it is not complete.

    Args:
        index: position of each sample in its split (n,) int64.
        y: given labels (n,) int64.
        clean_prediction: the model's answers to the clean images (n,) int64.
        prediction: its answers to the adversarial images, where one was found; else to the last that was tried (n,).
        broken_by: the stage that fooled it (n,) int16; ``ROBUST`` if none has, ``WRONG`` if the clean answer is wrong.
        logits: those of the adversarial images (n, K) float32; of the clean image where the clean answer is wrong.
        members: samples that the current stage attacks (n,) bool.
        settings: what defines the attack, the model and the samples; only with equal ones is an outcome resumed.
        stage: the current stage; the number of stages when complete.
        done: members of the current stage that were attacked.
        made: when, where and by which versions it was completed.
        source: file or row of the source that each sample comes from (n,) text; None where that is not known.
        not_finite: gradients of an image that had entries which are not finite; those counted as 0.
    """

    label: str
    index: np.ndarray
    y: np.ndarray
    clean_prediction: np.ndarray
    prediction: np.ndarray
    broken_by: np.ndarray
    logits: np.ndarray
    members: np.ndarray
    stages: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    stage: int = 0
    done: int = 0
    seconds: float = 0.0
    made: dict[str, Any] = field(default_factory=dict)
    source: np.ndarray | None = None
    not_finite: int = 0

    def __len__(self) -> int:
        return len(self.y)

    @property
    def complete(self) -> bool:
        """Whether every stage has been run."""
        return self.stage >= len(self.stages)

    @property
    def robust(self) -> np.ndarray:
        """Samples that are right on the clean image and under every attack so far (n,) bool."""
        return np.asarray(self.broken_by == ROBUST)

    @property
    def clean_accuracy(self) -> float:
        """Share that is right without an attack, in [0, 1]."""
        return float((self.clean_prediction == self.y).mean())

    @property
    def robust_accuracy(self) -> float:
        """Share that is right with and without the attack, in [0, 1]; an upper bound of the true one."""
        return float(self.robust.mean())

    def accuracy_after(self, stage: int) -> float:
        """Robust accuracy after a stage and all before it."""
        return float(((self.broken_by == ROBUST) | (self.broken_by > stage)).mean())

    def interval(self) -> tuple[float, float]:
        """95% interval of the robust accuracy, see :func:`overfit_lab.probes.metrics.proportion.interval`."""
        return interval(int(self.robust.sum()), len(self))

    def values(self, split: str) -> list[Value]:
        """The outcome as numbers for the records."""

        def value(name: str, share: float, inputs: str, *, error: bool = True) -> Value:
            stderr = float(np.sqrt(share * (1 - share) / len(self))) if error else None
            return Value(name, share, split, inputs, "given", len(self), stderr)

        low, high = self.interval()
        values = [
            value("acc_clean", self.clean_accuracy, "clean"),
            value(f"acc_adv/{self.label}", self.robust_accuracy, "adversarial"),
            value(f"interval_low/{self.label}", low, "adversarial", error=False),
            value(f"interval_high/{self.label}", high, "adversarial", error=False),
        ]
        if len(self.stages) > 1:
            values += [
                value(f"acc_after/{self.label}:{name}", self.accuracy_after(i), "adversarial")
                for i, name in enumerate(self.stages)
            ]
        return values

    def save(self, path: Path) -> None:
        """Write everything to a .npz file, atomically."""
        notes = {key: getattr(self, key) for key in NOTES}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        if self.source is not None:
            arrays["source"] = self.source
        write_arrays(path, {"notes": np.array(json.dumps(notes)), **arrays})

    def with_arrays(self) -> Outcome:
        """A copy whose arrays may be written to."""
        return replace(self, **{name: getattr(self, name).copy() for name in ARRAYS})


def load_outcome(path: Path) -> Outcome:
    """The outcome that a file holds.

    Raises:
        RunFolderError: damaged, or no outcome.
    """
    content = read_arrays(path)
    try:
        notes = parse_json(str(content["notes"]), str(path), not_finite=float)
        arrays: dict[str, Any] = {name: content[name] for name in ARRAYS}
        arrays |= {"source": content["source"]} if "source" in content else {}
        outcome = Outcome(**{**notes, "stages": tuple(notes["stages"])}, **arrays)
        if len({len(array) for array in arrays.values()}) != 1 or not isinstance(outcome.settings, dict):
            raise ValueError("arrays of different length")
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: not an outcome of an evaluation") from error
    return outcome
