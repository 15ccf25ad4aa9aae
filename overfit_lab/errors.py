"""Errors that a user can act on. Each message is one line: the value, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OverfitLabError(Exception):
    """Base of every error that is the input's fault; the command line prints it and exits with status 2."""


class ConfigError(OverfitLabError):
    """A configuration value is unknown, out of bounds, or does not go with another."""


class UnknownNameError(ConfigError):
    """A name is in no registry; the message lists the nearest known ones."""


class DataUnavailableError(OverfitLabError):
    """A data set is not on this machine, or is not what its name promises."""


class RunFolderError(OverfitLabError):
    """A run folder is missing, occupied, damaged or does not hold what was asked for."""


class FolderBusyError(RunFolderError):
    """Another process is writing to the folder."""


class WeightsError(OverfitLabError):
    """A weights file is unsafe, unreadable or does not fit the model."""


class ProbeError(OverfitLabError):
    """A probe cannot be computed on what it was given (an empty split, a missing reference, ...)."""


class MissingPackageError(OverfitLabError, ImportError):
    """A package that is only installed on request; the message says how to get it."""


class Interrupted(Exception):
    """The user stopped a command; the message says how to go on. The command line ends with status 130."""


class FailedError(Exception):
    """Something broke that is nobody's input: one line, and the exit status 1."""


class LostProcessError(FailedError):
    """Another process of the run is gone, or does not answer."""


def in_one_line(error: BaseException) -> str:
    """What an error says, in one line of no more than 200 characters, with its kind where that is no mere carrier."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
    plain = isinstance(error, OverfitLabError) or type(error) in (RuntimeError, ValueError, NotImplementedError)
    return text if plain and text else f"{type(error).__name__}: {text}" if text else type(error).__name__


def of_file(error: OSError) -> str:
    """What the system refused, in a clause with the file: ``runs/a/records.jsonl: no space left on device``."""
    reason = error.strerror or type(error).__name__
    return ": ".join(str(part) for part in (error.filename, reason[:1].lower() + reason[1:]) if part is not None)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that names what was asked for and the nearest known names.

    Args:
        kind: what the name should have been, in the singular ("label mode").
        name: what was given.
        known: every valid name.
    """
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(options)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def missing(package: str, extra: str) -> MissingPackageError:
    """The error for a package that an extra of ours brings.

    Args:
        package: its name.
        extra: name of the extra.
    """
    return MissingPackageError(f"{package} is not installed; pip install 'overfit-lab[{extra}]'")
