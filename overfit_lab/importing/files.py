"""From files to tables: which format each is of, which are parts of one run, what their runs are called."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from overfit_lab.config.catalog import FORMATS
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table


def paths_of(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files and folders that are meant, each once; patterns are spelled out where no file is called so.

    Raises:
        LogError: a pattern matches nothing, or there are none.
    """
    paths: list[Path] = []
    for one in [path] if isinstance(path, (str, Path)) else path:
        text = str(one)
        if not os.path.lexists(text) and glob.has_magic(text):
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                raise LogError(f"{text}: matches no file")
            paths += map(Path, matches)
        else:
            paths.append(Path(one))
    if not paths:
        raise LogError("no log to import")
    return list(dict.fromkeys(paths))


def read_tables(paths: Sequence[Path], format_name: str | None) -> list[tuple[str, Table]]:
    """The tables of some files, each with the name of its format; a format of None is recognised.

    Raises:
        LogError: a file cannot be read, or holds nothing.
    """
    tables: list[tuple[str, Table]] = []
    for path in paths:
        source = Source(path)
        name, kind = recognise(source, format_name)
        read = [table for table in kind.read(source) if len(table.frame)]
        if not read:
            raise LogError(f"{source}: holds no numbers of a training run ({name})")
        tables += [(name, table) for table in read]
    return _distinct(_joined(tables), paths)


def recognise(source: Source, name: str | None) -> tuple[str, Format]:
    """The format of a file or folder, with its name.

    Raises:
        UnknownNameError: there is no format of that name.
        LogError: no format knows it.
    """
    if name is not None:
        return name, FORMATS[name]
    known = {name: FORMATS[name] for name in FORMATS}
    for general in (False, True):
        for key, kind in known.items():
            if kind.general == general and kind.recognises(source):
                return key, kind
    if source.is_folder:
        raise LogError(f"{source}: is a folder of no format; give its files, such as '{source}/*.csv'")
    source.text  # noqa: B018 (says why it is no text)
    raise LogError(f"{source}: no format knows it; give --format {', '.join(known)}")


def _joined(tables: Sequence[tuple[str, Table]]) -> list[tuple[str, Table]]:
    """Tables that are parts of one run put together."""
    parts: dict[tuple[str, str], Table] = {}
    for i, (name, table) in enumerate(tables):
        key = (name, table.name if table.joins else f"{table.name}/{i}")
        first = parts.get(key)
        if first is None:
            parts[key] = table
        else:
            frame = pd.concat([first.frame, table.frame], ignore_index=True).astype(object)
            frame = frame.where(frame.notna(), None)
            lines = (*first.lines, *table.lines)
            fields = {**first.fields, **table.fields}
            parts[key] = replace(first, frame=frame, lines=lines, fields=fields)
    return [(key[0], table) for key, table in parts.items()]


def _distinct(tables: Sequence[tuple[str, Table]], paths: Sequence[Path]) -> list[tuple[str, Table]]:
    """Tables with names of their own: where files are called alike, the folders of all are in their names."""
    names = [table.name for _, table in tables]
    if len(set(names)) == len(names):
        return list(tables)
    top = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    distinct = []
    for name, table in tables:
        folder = os.path.relpath(os.path.dirname(os.path.abspath(table.source)), top)
        longer = table.name if folder == "." or table.name in folder else f"{folder}/{table.name}"
        longer = folder if folder != "." and table.name in folder else longer
        distinct.append((name, replace(table, name=longer)))
    return distinct
