"""``sweep.json``: what a sweep is and which cells it has. No torch is loaded, and nothing that it names is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overfit_lab.config.permission import read_from_file
from overfit_lab.errors import RunFolderError
from overfit_lab.files.json_text import read_object
from overfit_lab.files.limits import MANIFEST_BYTES
from overfit_lab.files.writing import write_json
from overfit_lab.records.layout import PLAIN_NAME, SWEEP
from overfit_lab.records.schema import ManifestInfo, check
from overfit_lab.sweeps.spec import SweepSpec, parse_spec

FORMAT = 1


def manifest_path(folder: Path) -> Path:
    """What the sweep in a folder is and which cells it has."""
    return folder / SWEEP


@dataclass(frozen=True)
class SweepCell:
    """One run of a sweep.

    Args:
        folder: its name: that of the cell, and the hash of its configuration.
        name: its settings in words, for people.
        settings: the axes' keys and the values that it has of them.
        seed: of the run.
        config: complete, as nested plain values.
    """

    folder: str
    name: str
    settings: dict[str, Any]
    seed: int
    config: dict[str, Any]

    @property
    def id(self) -> str:
        """The hash of the configuration, see :func:`overfit_lab.sweeps.identity.cell_id`."""
        return self.folder.rpartition("-")[2]


@dataclass(frozen=True)
class Manifest:
    """What ``sweep.json`` says.

    Args:
        spec: the sweep as last asked for.
        base: the configuration that the cells have in common, as nested plain values.
        cells: all of them: those that the sweep asks for, then earlier ones that were begun.
    """

    spec: SweepSpec
    base: dict[str, Any]
    cells: list[SweepCell]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``sweep.json``: a reader sees the old one or the new, never a part."""
    sweep = manifest.spec.model_dump(mode="json")
    content = {
        "format": FORMAT,
        "sweep": sweep,
        **({"base": manifest.base} if manifest.base != sweep["base"] else {}),
        "cells": {
            cell.folder: {"name": cell.name, "settings": cell.settings, "seed": cell.seed, "config": cell.config}
            for cell in manifest.cells
        },
    }
    write_json(manifest_path(folder), content, indent=1)


def read_manifest(folder: Path) -> Manifest:
    """What ``sweep.json`` says. No torch is needed and nothing that it names is imported.

    Raises:
        RunFolderError: no such folder, no sweep in it, or the file is damaged or of a later version.
    """
    path = manifest_path(folder)
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such folder of a sweep")
    check_no_old_grid(folder)
    if not path.is_file():
        raise RunFolderError(f"{folder}: not the folder of a sweep (no {SWEEP} in it)")
    try:
        content = read_object(path, MANIFEST_BYTES)
        read_from_file(content)
        if "format" in content and content["format"] != FORMAT:
            raise RunFolderError(f"{path}: has format {content['format']!r}, this version reads {FORMAT}")
        check(content, ManifestInfo, path)
        cells = [
            SweepCell(_plain_folder(key), str(c["name"]), dict(c["settings"]), int(c["seed"]), dict(c["config"]))
            for key, c in content["cells"].items()
        ]
        base = content["base"] if "base" in content else content["sweep"]["base"]
        return Manifest(parse_spec(content["sweep"], str(path)), dict(base), cells)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise RunFolderError(f"{path}: damaged, cannot be read as a sweep's JSON") from error


def _plain_folder(name: str) -> str:
    """A cell's folder lies in the sweep's, whatever a damaged or malicious file says."""
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(name)
    return name


def check_no_old_grid(folder: Path) -> None:
    """Refuse a folder of the time when grids had a file of their own.

    Raises:
        RunFolderError: it is one.
    """
    if (folder / "grid.json").is_file() and not manifest_path(folder).is_file():
        raise RunFolderError(
            f"{folder}: holds a grid of an earlier version (grid.json); its runs can be read, but it cannot be gone on "
            "with: choose another --out"
        )
