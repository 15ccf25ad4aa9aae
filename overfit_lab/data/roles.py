"""Which folders and files of a set are which split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from overfit_lab.config import SplitsConfig
from overfit_lab.errors import ConfigError, DataUnavailableError

ROLES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The names that splits go by, in small or capital letters."""

BYPRODUCTS = {"__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin"}
"""Folders that archivers and file systems leave behind."""

NUMBERING = re.compile(r"(?:[-_. ]?(?:\d+|of|part|shard|split|(?=[a-f]*\d)[0-9a-f]{16}))+$")
OF = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Files:
    """The files of each split.

    Args:
        paths: from train, val and test to their files, in order.
        names: what each of these splits is called in the folder.
        unused: names of files that are part of no split.
    """

    paths: Mapping[str, list[Path]]
    names: Mapping[str, str]
    unused: tuple[str, ...]


def is_byproduct(name: str) -> bool:
    """Whether a folder or file is hidden, or left behind by an archiver or file system."""
    return name.startswith(".") or name.lower() in BYPRODUCTS


def role_of(name: str) -> str | None:
    """The split that a folder's whole name stands for, such as ``Train``, ``valid`` or ``test_set``."""
    match = re.fullmatch(r"([a-z]+?)(?:[-_ ]?(?:set|data|images|split))?", name.lower())
    return next((role for role, words in ROLES.items() if match and match[1] in words), None)


def role_of_file(stem: str) -> str | None:
    """The split that the first word of a file's name stands for."""
    first = re.split(r"[\W_\d]", stem.lower(), maxsplit=1)[0]
    return next((role for role, words in ROLES.items() if first in words), None)


def assign(roles: Mapping[str, str | None], splits: SplitsConfig, where: str) -> dict[str, tuple[str, ...]]:
    """The names that make up train, val and test. A validation split beside no test split is the test split.

    Args:
        roles: each name that is there, and the split that it stands for, if any.
        splits: names that the user gave, which go before.

    Raises:
        ConfigError: a name was given that is not there.
        DataUnavailableError: two names stand for one split.
    """
    assigned: dict[str, tuple[str, ...]] = {role: names for role in ROLES if (names := getattr(splits, role))}
    for role, names in assigned.items():
        absent = [name for name in names if name not in roles]
        if absent:
            have = ", ".join(sorted(roles)) or "nothing"
            raise ConfigError(f"data.splits.{role} = {absent[0]!r}: not in {where}, which has {have}")
    taken = {name for names in assigned.values() for name in names}
    for role in ROLES:
        candidates = sorted(name for name, its in roles.items() if its == role and name not in taken)
        if role in assigned or not candidates:
            continue
        if len(candidates) > 1:
            raise DataUnavailableError(
                f"{where}: {candidates[0]!r} and {candidates[1]!r} may both be the {role} split; "
                f"name it by data.splits.{role}="
            )
        assigned[role] = (candidates[0],)
    if "test" not in assigned and "val" in assigned and not splits.val:
        assigned["test"] = assigned.pop("val")
    return assigned


def files_by_split(folder: Path, ending: str, splits: SplitsConfig, where: str) -> Files:
    """The files of a folder that end so, by split: SPLIT-*.ENDING, or any name in a folder SPLIT, at any depth.

    Raises:
        ConfigError: a name was given that is not there.
        DataUnavailableError: several configurations lie in the folder, two names stand for one split, or files of one
            split are absent.
    """
    roles: dict[str, str | None] = {}
    members: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(folder.rglob(f"*{ending}")):
        *above, file = path.relative_to(folder).parts
        if any(is_byproduct(part) for part in (*above, file)):
            continue
        name, role, configuration = _split_of(above, path.stem)
        roles[name] = role
        members.setdefault(name, []).append((configuration, path))
    assigned = assign(roles, splits, where)
    used = {name for names in assigned.values() for name in names}
    configurations = sorted({configuration for name in used for configuration, _ in members[name]})
    if len(configurations) > 1:
        listed = ", ".join(configuration or "." for configuration in configurations)
        raise DataUnavailableError(
            f"{where}: holds several configurations of a set, {listed}; name the folder of one, such as "
            f"{where.removesuffix('/')}/{configurations[-1]}"
        )
    paths = {role: [path for name in names for _, path in members[name]] for role, names in assigned.items()}
    for role, files in paths.items():
        _refuse_absent(files, f"{where}: {role}")
    called = {role: ", ".join(f"{name}*{ending} ({len(paths[role])})" for name in n) for role, n in assigned.items()}
    return Files(paths, called, tuple(f"{name}*{ending}" for name in sorted(members) if name not in used))


def _split_of(above: Sequence[str], stem: str) -> tuple[str, str | None, str]:
    """Name of a file's split, what it stands for, and the configuration that it belongs to."""
    configuration = "/".join(part for part in above if role_of(part) is None)
    name = NUMBERING.sub("", stem)
    role = role_of_file(stem)
    if role is None:
        folder = next((part for part in reversed(above) if role_of(part)), None)
        if folder is not None:
            return folder, role_of(folder), configuration
    return name or (above[-1] if above else stem), role, configuration


def _refuse_absent(files: Iterable[Path], where: str) -> None:
    """Refuse a split whose files say that there are more of them."""
    numbers = [match for match in (OF.search(path.stem) for path in files) if match]
    for total in {int(match[2]) for match in numbers}:
        there = {int(match[1]) for match in numbers if int(match[2]) == total}
        if len(there) < total <= 100_000:
            raise DataUnavailableError(f"{where} has {len(there)} of the {total} files that their names speak of")
