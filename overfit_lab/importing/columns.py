"""Which column is which field: as the user says, as the format knows, else as the column's name tells.

A name tells clearly, or leaves several readings open; then the user is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from overfit_lab.errors import ConfigError
from overfit_lab.importing.fields import AXES, FIELDS, FULL_NAME, SIZES, SPLITS, field_of

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), ("train",)),
    **dict.fromkeys(("test", "testing", "tst"), ("test",)),
    **dict.fromkeys(("val", "valid", "validation", "dev"), ("val",)),
    **dict.fromkeys(("eval", "evaluation"), ("test", "val")),
}
KIND_WORDS = {
    **dict.fromkeys(("acc", "accuracy", "top1", "prec1", "ra", "sa"), "acc"),
    **dict.fromkeys(("loss", "nll", "xent"), "loss"),
    **dict.fromkeys(("err", "error"), "error"),
}
ROBUST_WORDS = ("robust", "robustness", "rob", "adv", "adversarial", "adversarially", "pgd", "ra")
CLEAN_WORDS = ("clean", "nat", "natural", "std", "standard", "benign", "sa")
WEIGHTS_WORDS = ("ema", "swa", "wa")
SILENT_WORDS = ("avg", "mean", "average", "percent", "pct", "%", "epoch", "metric", "metrics", "rate")
"""Words that say nothing of which number it is."""
STEP_NAMES = ("step", "global step", "trainer global step", "iteration", "iterations", "iter", "global iteration")
EPOCH_NAMES = ("epoch", "epochs", "ep", "trainer epoch", "current epoch", "train epoch", "epoch number")
LR_WORDS = ("lr", "learning", "rate", "sgd", "adam", "adamw", "train", "pg0", "pg1", "0")
CALLS = "_step"
"""What W&B calls the number of a logging call, which is no optimiser step."""
MOST_SHOWN = 8
"""Columns that a message names."""


class AmbiguousError(ConfigError):
    """A column may be several fields, or a field several columns; the message lists them with the option to write."""


@dataclass(frozen=True)
class Reading:
    """What a column's name says.

    Args:
        fields: that it may be.
        open: what it leaves open: ``split``, ``inputs``.
        kind: ``acc``, ``loss``, ``error``, or the axis.
    """

    fields: tuple[str, ...]
    open: frozenset[str] = frozenset()
    kind: str = ""


@dataclass
class Chosen:
    """Columns by field.

    Args:
        columns: by field.
        guessed: fields that nobody named.
        passed_over: columns that are read as nothing.
    """

    columns: dict[str, str]
    guessed: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


@dataclass
class Question:
    """Something to decide.

    Args:
        text: the question.
        options: fields or columns to choose from, each as the option of the command line that says so.
    """

    text: str
    options: Mapping[str, str] = field(default_factory=dict)


Choose = Callable[[Question], str]
"""Asks the user; the answer is one of the options."""


def words_of(column: str) -> list[str]:
    """The words of a column's name in lower case; "Prec@1" and "top-1" are one word each.

    Example:
        >>> words_of("Test Robust Acc"), words_of("valPGDAcc"), words_of("train/prec@1")
        (['test', 'robust', 'acc'], ['val', 'pgd', 'acc'], ['train', 'prec1'])
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)(?=[A-Z][a-z])", r"\1\3 \2", column)
    joined = re.sub(r"(?i)\b(prec|acc|accuracy|top)[@-]1\b", "prec1", spaced)
    joined = re.sub(r"(?i)\b(prec1?|top1?)[ _]?(acc|accuracy)\b", "prec1", joined)
    return re.findall(r"[a-z]+\d*|\d+|%", joined.lower())


def read_name(column: str) -> Reading:
    """The fields that a column may be by its name; none where a word is not understood."""
    if column in AXES or column in SIZES or (column in FIELDS and column != OBJECTIVE):
        return Reading((column,), kind=column if column not in FIELDS else _kind(column))
    if FULL_NAME.fullmatch(column) and _is_full(column):
        return Reading((column,), kind=column)
    words = words_of(column)
    name = " ".join(words)
    for axis, names in (("epoch", EPOCH_NAMES), ("step", STEP_NAMES)):
        if name in names:
            return Reading((axis,), kind=axis)
    if ("lr" in words or {"learning", "rate"} <= set(words)) and all(word in LR_WORDS for word in words):
        return Reading(("lr",), kind="lr")
    return _measured(words)


def _is_full(column: str) -> bool:
    """Whether it is a number as sinks name it, and not merely a name with slashes."""
    parts = [part for part in column.split("/") if part not in SPLITS]
    return "/evaluation/" in f"/{column}" or parts[0] in ("clean", "adversarial", "noisy", "black-box", "training")


def _kind(name: str) -> str:
    return name.partition("@")[0].rpartition("_")[2] if name.endswith(("acc", "loss", "error")) else name


def _measured(words: Sequence[str]) -> Reading:
    """The reading of an accuracy or a loss."""
    splits: set[str] = set()
    kinds, inputs, weights = set(), set(), set()
    for word in words:
        adversarial = word in ROBUST_WORDS or re.fullmatch(r"pgd\d+", word)
        known = False
        if word in SPLIT_WORDS:
            splits.update(SPLIT_WORDS[word])
            known = True
        if word in KIND_WORDS:
            kinds.add(KIND_WORDS[word])
            known = True
        if adversarial or word in CLEAN_WORDS:
            inputs.add("robust_" if adversarial else "")
            known = True
        if word in WEIGHTS_WORDS:
            weights.add(word)
            known = True
        if not known and word not in SILENT_WORDS:
            return Reading(())
    if len(kinds) != 1 or len(inputs) > 1 or len(weights) > 1 or splits >= {"train", "test"}:
        return Reading(())
    kind = kinds.pop()
    undecided = {name for name, values in (("split", splits), ("inputs", inputs)) if len(values) != 1}
    suffix = f"@{weights.pop()}" if weights else ""
    fields = [
        f"{split}_{part}{kind}{suffix}"
        for split in SPLITS
        if not splits or split in splits
        for part in (inputs or {"", "robust_"})
    ]
    return Reading(tuple(sorted(fields)), frozenset(undecided), kind)


def choose_columns(
    columns: Sequence[str],
    *,
    mapping: Mapping[str, str],
    skip: Collection[str] = (),
    certain: Mapping[str, str] | None = None,
    choose: Choose | None = None,
    source: str = "",
) -> Chosen:
    """The column of each field.

    Args:
        columns: of the log.
        mapping: columns by field, as the user says.
        skip: columns that are to be nothing.
        certain: fields by column, as the format has them.
        choose: asks the user; None: there is nobody to ask.
        source: of the log, for messages.

    Raises:
        ConfigError: a field or column that is not there.
        AmbiguousError: a name leaves open which field it is, and there is nobody to ask.
    """
    for column in (*mapping.values(), *skip):
        if column not in columns and column != ROW:
            raise ConfigError(f"{source}: has no column {column!r}; it has {listed(columns)}")
    chosen = dict(mapping)
    taken = {*mapping.values(), *skip}
    for column, name in (certain or {}).items():
        if column in columns and column not in taken and not _targets(chosen) & _targets([name]):
            chosen[name] = column
    fixed = set(chosen)
    left = [column for column in columns if column not in {*taken, *chosen.values()}]
    readings = {column: reading for column in left if (reading := _settled(column, columns, fixed)).fields}
    questions: list[Question] = []
    claims = _claims(readings)
    if len(steps := [column for column in claims.get("step", []) if column != CALLS]) != 1 and "epoch" in claims:
        claims.pop("step", None)  # epochs are known, and which of them counts steps matters little
    elif steps:
        claims["step"] = steps
    for name, candidates in claims.items():
        if _targets(chosen) & _targets([name]):
            continue
        if len(candidates) > 1:
            options = {column: f"--map {_argument(name, column)}" for column in candidates}
            answer = _ask(Question(f"{name} may be {_either(candidates)}", options), choose, questions)
            candidates = [answer] if answer else []
            fixed.add(name)
        if candidates:
            chosen[name] = candidates[0]
    for column, reading in readings.items():
        if len(reading.fields) > 1 and column not in chosen.values():
            before = set(chosen)
            _decide(column, reading, chosen, choose, questions)
            fixed |= set(chosen) - before
    if questions:
        said = "; ".join(f"{question.text}: give {' or '.join(question.options.values())}" for question in questions)
        raise AmbiguousError(f"{source}: {said}")
    used = set(chosen.values())
    return Chosen(
        chosen,
        tuple(name for name in chosen if name not in fixed),
        tuple(column for column in columns if column not in used),
    )


ROW = "row"
"""Stands for the number of a row within its run, where ``--map`` names it as a column."""


def _claims(readings: Mapping[str, Reading]) -> dict[str, list[str]]:
    """Columns whose name is clear, by field; one that is spelled as the field itself is alone."""
    claims: dict[str, list[str]] = {}
    for column, reading in readings.items():
        if len(reading.fields) == 1:
            claims.setdefault(reading.fields[0], []).append(column)
    return {name: [name] if name in columns else columns for name, columns in claims.items()}


def _settled(column: str, columns: Sequence[str], fixed: Collection[str]) -> Reading:
    """The reading of a column's name beside the others' names.

    A name without "robust" or "clean" is of clean inputs where the log has a robust twin of it, or no robust number at
    all. A loss on train without such a twin is the one that is trained on.
    """
    reading = read_name(column)
    if "inputs" not in reading.open:
        return reading
    others = [read_name(other) for other in columns if other != column]
    robust = {name for other in others if "inputs" not in other.open for name in other.fields if "robust_" in name}
    robust |= {name for name in fixed if "robust_" in name}
    plain = tuple(name for name in reading.fields if "robust_" not in name)
    twins = {name.replace("_", "_robust_", 1) for name in plain}
    if reading.kind == "loss" and plain in ((OBJECTIVE,), ALL_LOSSES) and not twins & robust:
        return Reading(("loss",), reading.open - {"inputs", "split"}, reading.kind)
    convention = {name.rpartition("_")[0] for name in robust}
    beside = {twin.rpartition("_")[0] for twin in twins} & convention
    if not robust or twins & robust or (beside and reading.kind == "loss"):
        return Reading(plain, reading.open - {"inputs"}, reading.kind)
    return reading


OBJECTIVE = "train_loss"
"""What many loops call the loss that they train on, and :data:`FIELDS` that on clean training images."""
ALL_LOSSES = ("test_loss", "train_loss", "val_loss")


def _decide(
    column: str, reading: Reading, chosen: dict[str, str], choose: Choose | None, questions: list[Question]
) -> None:
    """Ask which field a column is, unless clearer columns are there for what it may be."""
    free = [name for name in reading.fields if not _targets(chosen) & _targets([name])]
    if not free or ("split" in reading.open and len(free) < len(reading.fields)):
        return
    options = {name: f"--map {_argument(name, column)}" for name in free}
    options["nothing"] = f"--skip {quoted(column)}"
    answer = _ask(Question(f"{column!r} may be {_either(free)}", options), choose, questions)
    if answer and answer != "nothing":
        chosen[answer] = column


def _ask(question: Question, choose: Choose | None, questions: list[Question]) -> str:
    """The answer; "" where there is nobody to ask, and the question is noted."""
    if choose is None:
        questions.append(question)
        return ""
    return choose(question)


def _targets(names: Collection[str]) -> set[tuple[str, ...]]:
    """What the fields are recorded as: an accuracy and its error are one."""
    targets: set[tuple[str, ...]] = set()
    for name in names:
        if name in AXES or name in SIZES:
            targets.add((name,))
        else:
            to = field_of(name)
            targets.add((to.probe, to.field, to.split, to.inputs))
    return targets


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


def _argument(name: str, column: str) -> str:
    return quoted(f"{name}={column}")


def quoted(text: str) -> str:
    """As a shell takes it as one word."""
    return text if re.fullmatch(r"[\w=./@:-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(repr, names[:MOST_SHOWN]))
    return shown if len(names) <= MOST_SHOWN else f"{shown} and {len(names) - MOST_SHOWN} more"


def doubled(names: Sequence[str]) -> str:
    """The first name that comes twice; "" for none."""
    before: set[str] = set()
    for name in names:
        if name in before:
            return name
        before.add(name)
    return ""
