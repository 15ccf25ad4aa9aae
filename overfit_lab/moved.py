"""Import paths of earlier releases: they still work, and say where the name is now."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FOLDER = ""
MOVED = {
    "overfit_lab.attacks": (FOLDER, ()),
    "overfit_lab.attacks.pgd": ("overfit_lab.methods.attacks.pgd", ("PGD",)),
    "overfit_lab.threat": ("overfit_lab.methods.threat", ("ThreatModel",)),
    "overfit_lab.integrations": (FOLDER, ()),
    "overfit_lab.integrations.lightning": ("overfit_lab.monitor.integrations.lightning", ("LightningCallback",)),
    "overfit_lab.integrations.transformers": (
        "overfit_lab.monitor.integrations.transformers",
        ("TransformersCallback",),
    ),
}
"""By the old path: the module that has its contents now, and what to import from ``overfit_lab`` instead."""


class OldPaths(MetaPathFinder, Loader):
    """Imports an old path as a stand-in that reads every name from where it is now.

    It is asked after all other finders, so it costs nothing where a path exists.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A stand-in for the paths that moved, nothing for others."""
        return ModuleSpec(name, self, is_package=MOVED[name][0] == FOLDER) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Point the stand-in at the module of today, with a warning at the line of the import."""
        place, names = MOVED[module.__name__]
        if place == FOLDER:
            return
        warn_moved(module.__name__, names, stacklevel=3)
        today = import_module(place)
        module.__dict__.update({name: value for name, value in vars(today).items() if not name.startswith("__")})
        module.__doc__ = today.__doc__


def warn_moved(path: str, names: Sequence[str], *, stacklevel: int) -> None:
    """Say what to write instead of an old path."""
    new = ", ".join(names)
    warnings.warn(f"{path} has moved: write `from overfit_lab import {new}`", DeprecationWarning, stacklevel=stacklevel)


def old_name(path: str, name: str, today: str) -> Any:
    """What a package that was a module gives for a name of it: that of the module of today, with a warning.

    Raises:
        AttributeError: the module has no such public name.
    """
    value = None if name.startswith("_") else getattr(import_module(today), name, None)
    if value is None or isinstance(value, ModuleType):
        raise AttributeError(f"module {path!r} has no attribute {name!r}")
    warn_moved(path, (name,), stacklevel=4)
    return value
