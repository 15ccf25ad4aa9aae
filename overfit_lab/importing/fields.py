"""What a column of a log may be: the fields by name, and the record that each becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from overfit_lab.errors import unknown_name

SPLITS = ("train", "test", "val")
AXES = ("epoch", "step", "run")
"""Columns that say which row this is."""
SIZES = {f"n_{split}": split for split in SPLITS}
INPUTS = {"": ("clean", "clean"), "robust_": ("adv", "adversarial")}
FULL_NAME = re.compile(r"(?:(train|val|test)/)?(?:(clean|adversarial|noisy|black-box)/)?([\w.@:-]+)/([\w.@:/-]+)")
"""A number of a run folder as sinks name it: ``split/inputs/probe/field``."""


@dataclass(frozen=True)
class Field:
    """Which record a column becomes.

    Args:
        name: as ``--map`` has it.
        probe: of the record.
        field: of the record.
        split: of the record.
        inputs: of the record.
        labels: of the record.
        kind: ``acc`` for a share, ``error`` for 1 - share, else ``number``.
    """

    name: str
    probe: str
    field: str
    split: str = ""
    inputs: str = ""
    labels: str = ""
    kind: str = "number"

    @property
    def is_share(self) -> bool:
        """Whether it is a fraction or a percentage."""
        return self.kind != "number"


def _known() -> dict[str, Field]:
    fields = [
        Field("lr", "training", "lr"),
        Field("loss", "training", "loss", "train", "", "targets"),
        Field("seconds_training", "training", "seconds_training"),
        Field("seconds_evaluation", "training", "seconds_evaluation"),
    ]
    for split in SPLITS:
        for prefix, (short, inputs) in INPUTS.items():
            where = (split, inputs, "given")
            name = f"{split}_{prefix}"
            fields.append(Field(f"{name}acc", "evaluation", f"acc_{short}", *where, kind="acc"))
            fields.append(Field(f"{name}error", "evaluation", f"acc_{short}", *where, kind="error"))
            fields.append(Field(f"{name}loss", "evaluation", f"loss_{short}", *where))
    return {field.name: field for field in fields}


FIELDS = _known()
"""Numbers by the name that ``--map`` takes."""


def field_of(name: str) -> Field:
    """The field of a name: one of :data:`FIELDS`, of second weights ``NAME@ema``, or ``split/inputs/probe/field``.

    Raises:
        UnknownNameError: there is no such field.

    Example:
        >>> field_of("test_robust_acc@ema").probe, field_of("test/adversarial/calibration/ece").field
        ('evaluation@ema', 'ece')
    """
    short, _, weights = name.partition("@")
    known = FIELDS.get(short)
    if known is not None and (not weights or (known.probe == "evaluation" and re.fullmatch(r"[\w-]+", weights))):
        probe = f"{known.probe}@{weights}" if weights else known.probe
        return Field(name, probe, known.field, known.split, known.inputs, known.labels, known.kind)
    full = FULL_NAME.fullmatch(name)
    if full is None or name.startswith("/"):
        raise unknown_name("field", name, [*AXES, *FIELDS, *SIZES])
    split, inputs, probe, field = full.groups()
    evaluation = probe.partition("@")[0] == "evaluation"
    kind = "acc" if evaluation and field.startswith("acc_") else "number"
    return Field(name, probe, field, split or "", inputs or "", "given" if evaluation else "", kind)
