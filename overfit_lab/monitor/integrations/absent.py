"""A trainer's package that is not installed, in one line."""

from __future__ import annotations

from overfit_lab.errors import OverfitLabError


class MissingPackageError(OverfitLabError, ImportError):
    """A package that is only installed on request; the message says how to get it."""


def missing(package: str, extra: str) -> MissingPackageError:
    """The error for a package that an extra of ours brings.

    Args:
        package: its name.
        extra: name of the extra.
    """
    return MissingPackageError(f"{package} is not installed; pip install 'overfit-lab[{extra}]'")
