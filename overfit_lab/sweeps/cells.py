"""The cells of a sweep: from its file to complete configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, apply_settings, load_config, parse_config, to_dict
from overfit_lab.config.catalog import BACKENDS
from overfit_lab.config.permission import current
from overfit_lab.config.recipes import recipe
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, OverfitLabError, RunFolderError
from overfit_lab.files.yaml_text import parse_yaml
from overfit_lab.records import identity, layout
from overfit_lab.records.computed import as_computed, config_of
from overfit_lab.records.status import status_of
from overfit_lab.sweeps.axes import Axes, name_cells
from overfit_lab.sweeps.identity import cell_id
from overfit_lab.sweeps.manifest import Manifest, SweepCell
from overfit_lab.sweeps.spec import RUNS, SweepSpec
from overfit_lab.training.complete import complete


def plan(spec: SweepSpec, beside: Path, *, trust: bool = False) -> Manifest:
    """The cells that a sweep asks for, each configuration checked and complete; nothing is written.

    Args:
        spec: the sweep.
        beside: the folder from which a base that is a file is looked for.
        trust: the code that the sweep names may be imported.

    Raises:
        ConfigError: an unknown recipe, a wrong key or value, or a cell that comes twice; code without ``trust``.
    """
    base = apply_settings(_base(spec.base, beside), spec.set.items(), "set")
    return Manifest(spec, to_dict(base), expand(base, spec.grid, spec.numbers(base.seed), trust=trust))


def expand(base: RunConfig, axes: Axes, seeds: Sequence[int], *, trust: bool = False) -> list[SweepCell]:
    """Every combination of the axes' values with every seed; the last axis and then the seed vary fastest.

    Args:
        base: what the cells have in common.
        axes: keys and the values that each takes; applied in their order.
        seeds: of the runs.
        trust: the code that base and axes name may be imported.

    Returns:
        Cells with complete configurations.

    Raises:
        ConfigError: the configuration of a cell is wrong, or that of another cell again, or names code without
            ``trust``; the message names the cell.
    """
    wanted = []
    for name, settings, seed in name_cells(axes, seeds):
        with _named(name):
            config = apply_settings(base, [*settings.items(), ("seed", seed)])
        check_trusted(config, f"cell {name}", trust=trust)
        wanted.append((name, settings, seed, config))
    cells: dict[str, SweepCell] = {}
    for name, settings, seed, config in wanted:
        with _named(name):
            config = complete(config)
        key = cell_id(config)
        if key in cells:
            raise ConfigError(
                f"cell {name}: is the same run as cell {cells[key].name}; leave one of them out "
                "(or is a later axis undoing another?)"
            )
        cells[key] = SweepCell(f"{name}-{key}", name, settings, seed, to_dict(config))
    return list(cells.values())


def _base(base: str | Mapping[str, Any], beside: Path) -> RunConfig:
    if not isinstance(base, str):
        return parse_config(dict(base), "base")
    is_file = base.endswith((".yaml", ".yml")) or "/" in base
    return load_config(beside / base) if is_file else recipe(base)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors inside name the cell."""
    try:
        yield
    except OverfitLabError as error:
        raise ConfigError(f"cell {name}: {error}") from error


def extend(earlier: Manifest, wanted: Manifest, folder: Path) -> Manifest:
    """A sweep that is asked for again, with more values, axes or seeds perhaps; earlier cells that were begun stay.

    Raises:
        RunFolderError: the folder holds a sweep with another base; the message names the key.
    """
    axes = {*earlier.spec.grid, *wanted.spec.grid, "seed"}
    before, after = (_beside_axes(manifest.base, axes) for manifest in (earlier, wanted))
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            raise RunFolderError(
                f"{folder}: holds a sweep with {key} = {before.get(key)!r}, not {after.get(key)!r}; "
                f"make {key} an axis, or choose another --out"
            )
    folders = {cell.id: cell.folder for cell in earlier.cells}  # other axes make other names of the same runs
    cells = [replace(cell, folder=folders.get(cell.id, cell.folder)) for cell in wanted.cells]
    new = {cell.folder for cell in cells}
    begun = [cell for cell in earlier.cells if cell.folder not in new and layout.is_run(folder / cell.folder)]
    return Manifest(wanted.spec, wanted.base, [*cells, *begun])


def _beside_axes(base: Mapping[str, Any], axes: set[str]) -> dict[str, Any]:
    """What of a base no axis replaces, by dotted keys; naming a component replaces its options too."""
    replaced = tuple(f"{key.removesuffix('name') if key.endswith('.name') else key + '.'}" for key in axes)
    flat = identity.run(parse_config(base))
    return {key: value for key, value in flat.items() if not f"{key}.".startswith(replaced)}


def check_spec_trusted(spec: SweepSpec, source: str, *, trust: bool) -> None:
    """Refuse a sweep's file that names code, or gives a backend what it would run, unless the user allows it.

    Raises:
        ConfigError: it does, and the user has neither typed it nor said ``--trust``.
    """
    check_trusted(spec, source, trust=trust)
    for name, options in spec.backends.items():
        fields = BACKENDS[name].Options.model_fields if name in BACKENDS else {}
        for key, value in options.items():
            field = fields.get(key)
            if field is not None and field.json_schema_extra == RUNS and not trust and not _is_typed(key, value):
                raise ConfigError(
                    f"{source}: backends.{name}.{key} = {value!r} would be run, or connected to; "
                    "add --trust if you trust this file"
                )


def _is_typed(key: str, value: Any) -> bool:
    """Whether the user set an option to this value on the command line, or left it out."""
    permitted = current()
    return not value or permitted.everything or any(_says(text, key, value) for text in permitted.texts)


def _says(text: str, key: str, value: Any) -> bool:
    """Whether a word of the command line is the value itself, or ``key=value``."""
    name, equals, written = text.partition("=")
    try:
        return text == value or (bool(equals) and name.strip() == key and parse_yaml(written, text) == value)
    except ConfigError:
        return False


def check_cells_trusted(cells: Sequence[SweepCell], source: str, *, trust: bool) -> None:
    """Refuse cells whose configurations name code, unless the user allows it.

    Raises:
        ConfigError: they do; or a configuration is wrong.
    """
    for cell in cells:
        check_trusted(parse_config(cell.config, f"cell {cell.name}"), source, trust=trust)


def check_same_run(folder: Path, config: RunConfig) -> None:
    """See that a cell's folder holds the run that it should, in whatever version it was begun.

    Raises:
        RunFolderError: the run of another configuration; the message names a key in which they differ.
    """
    config = as_computed(config, layout.read_info(folder))
    begun, wanted = (identity.run(complete(c)) for c in (config_of(folder), config))
    if begun != wanted:
        key = next(key for key in sorted({*begun, *wanted}) if begun.get(key) != wanted.get(key))
        raise RunFolderError(
            f"{folder}: holds a run with {key} = {begun.get(key)!r}, the sweep wants {wanted.get(key)!r} "
            "(a default that has changed since?); remove the folder, or name the old value in the sweep"
        )


def is_completed(folder: Path, cell: SweepCell) -> bool:
    """Whether a cell's run is completed.

    Raises:
        RunFolderError: its folder holds the run of another configuration.
    """
    path = folder / cell.folder
    if status_of(path) != "completed":
        return False
    check_same_run(path, parse_config(cell.config, cell.name))
    return True
