"""The published figures for our rows, and notes on how far the two can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from overfit_lab.records.naming import DATA, MODELS, data_title, model_title, pixels
from overfit_lab.records.noise import is_noisy, noise_name
from overfit_lab.records.reader import Run
from overfit_lab.views.published.reader import CITATION, Printed, lines_of
from overfit_lab.views.tables.entries import Entry
from overfit_lab.views.tables.table import EMPTY, PUBLISHED, Cell, Footnotes, Row

ARCHITECTURES = {"wrn-34-10": "wide_resnet34_10"}
THEIR_MODELS = {"resnet18": "ResNet-18", "wide_resnet34_10": "WRN-34-10"}
N_TRAIN, EPOCHS, EPS, THEIR_ATTACK, WIDTH = 50_000, 200, 8 / 255, "pgd-20", 64
"""The paper's setting: training images of CIFAR, epochs, radius, steps of the attack, channels of its ResNet-18."""


def their_setting(run: Run) -> tuple[str, str]:
    """Data set and architecture of the published lines for a run: its own where the paper has them.

    Else CIFAR-10, and ResNet-18.
    """
    config = run.config
    dataset = "cifar100" if config.data.name == "cifar100" else "cifar10"
    wide = ARCHITECTURES.get(config.model.name) if dataset == "cifar10" else None
    return dataset, wide or "resnet18"


def with_published(
    entries: Sequence[Entry], rows: Sequence[Row], published: Callable[[Entry], Row | None]
) -> list[Row]:
    """Rows with the published one of a method below the last of its own in each section."""
    last = {(entry.section, entry.key): i for i, entry in enumerate(entries)}
    combined = []
    for i, (entry, row) in enumerate(zip(entries, rows, strict=True)):
        combined.append(row)
        theirs = published(entry) if entry.key and last[entry.section, entry.key] == i else None
        if theirs is not None:
            combined.append(replace(theirs, section=entry.section, source=PUBLISHED))
    return combined


def printed_cells(lines: Sequence[Printed], footnotes: Footnotes) -> tuple[Cell, Cell, Cell]:
    """Best, final and diff as printed first, with a footnote where tables contradict themselves or each other."""
    if not lines:
        return EMPTY, EMPTY, EMPTY
    first = lines[0]
    best, final, diff = (Cell(value, digits=first.digits) for value in (first.best, first.final, first.diff))
    return best, final, replace(diff, mark=footnotes.mark(contradictions(lines)))


def contradictions(lines: Sequence[Printed]) -> str:
    """What is wrong with the lines that print one quantity, in words; "" where nothing is."""
    tables_by_text: dict[str, list[str]] = {}
    for line in lines:
        text = line.contradiction()
        if not text and (line.best, line.final, line.diff) != (lines[0].best, lines[0].final, lines[0].diff):
            text = f"printed {line.best}, {line.final} and {line.diff}"
        if text:
            tables_by_text.setdefault(text, []).append(line.table)
    first = lines[0].table
    is_other = tables_by_text and all(first not in names for names in tables_by_text.values())
    shown = f"; shown as in {tables([first])}" if is_other else ""
    return "; ".join(f"{tables(names)}: {text}" for text, names in tables_by_text.items()) + shown


def tables(names: Iterable[str]) -> str:
    """Names of tables: ``Tab. 2, 3``."""
    return f"Tab. {', '.join(dict.fromkeys(names))}"


def lines_for(entry: Entry, metric: str, attack: str) -> list[Printed]:
    """The published lines of one quantity of a row's method."""
    return lines_of(*their_setting(entry.runs[0]), entry.key, metric, attack)


def published_label(entry: Entry, names: Iterable[str]) -> str:
    """What a published row is called: the method's plain name and the paper's tables."""
    return f"{entry.method}, published ({tables(names)})"


def comparison_notes(entries: Sequence[Entry], *, noise: bool = True) -> tuple[str, ...]:
    """In plain words, whose numbers the published ones are and in what they differ from ours.

    Args:
        entries: our rows that have a published one.
        noise: whether our label noise is named; not where columns are of it.
    """
    if not entries:
        return ("No row of the paper is of these methods.",)
    notes = [f"Published rows: {CITATION}; copied as printed, the number of its seeds is not stated."]
    seeds: dict[str, set[int]] = {}
    for entry in entries:
        for run in entry.runs:
            seeds.setdefault(_against(run, noise=noise), set()).add(run.config.seed)
    notes += [text.format(seeds="1 seed" if len(n) == 1 else f"{len(n)} seeds") for text, n in seeds.items()]
    notes.append("Rows are matched by method; its constants, such as r and the temperature, may differ.")
    return tuple(notes)


def _against(run: Run, *, noise: bool) -> str:
    """Compares a run's setting with that of its published lines; the caller fills in "{seeds}"."""
    dataset, architecture = their_setting(run)
    config = run.config
    n_train = run.sizes.get("train", config.data.n_train)
    images = f"{n_train:,} training images" if n_train else "all training images"
    noisy = f", {noise_name([run])}" if noise and is_noisy(run) else ""
    ours = f"{data_title(config)}, {images}{noisy}, {model_title(config)}"
    theirs = f"{DATA[dataset]}, {N_TRAIN:,} training images, {THEIR_MODELS[architecture]}"
    rest = f"{config.epochs} epochs, eps {pixels(config.attack.eps)}"
    their_rest = f"{EPOCHS} epochs, eps {pixels(EPS)}"
    if _agrees(run, n_train):
        same = rest == their_rest and config.attack.norm == "linf"
        also = f", {rest}" if same else f"; ours {config.attack.norm} {rest}, theirs linf {their_rest}"
        return f"Data set and architecture agree with the paper's: {theirs}{also}; ours {{seeds}}."
    return (
        f"Scale and data differ, so compare directions, not numbers. Ours: {ours}, {rest}, {{seeds}}. "
        f"Theirs: {theirs}, {their_rest}."
    )


def _agrees(run: Run, n_train: int | None) -> bool:
    dataset, architecture = their_setting(run)
    model = run.config.model
    same_model = ARCHITECTURES.get(model.name, model.name) == architecture
    same_width = model.options.get("width", WIDTH) == WIDTH or architecture != "resnet18"
    same_data = run.config.data.name == dataset and n_train in (None, N_TRAIN) and not run.config.data.noise.rate
    return same_data and same_model and same_width and model.name in MODELS
