"""Names to components. A component is added by adding a file; nothing else is edited.

Every module of a family's package may define ``REGISTER``, a plain dict from name to component. The registry is the
union of those dicts. Where a name is taken, ``package.module:Attribute`` is taken too, so nobody needs to fork.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, MutableMapping
from typing import Any

from overfit_lab.config import permission
from overfit_lab.errors import ConfigError, unknown_name


class Registry(MutableMapping[str, Any]):
    """A dict that fills itself from the files of one package when it is first read.

    Args:
        kind: what an entry is called in messages, in the singular.
        package: dotted name of the package whose modules define the entries.
        attribute: name of the dict of entries in a module.
    """

    def __init__(self, kind: str, package: str, attribute: str = "REGISTER") -> None:
        self.kind = kind
        self.package = package
        self.attribute = attribute
        self._entries: dict[str, Any] = {}
        self._loaded = False

    def _load(self) -> dict[str, Any]:
        if not self._loaded:
            self._loaded = True
            package = importlib.import_module(self.package)
            for info in pkgutil.iter_modules(package.__path__):
                module = importlib.import_module(f"{self.package}.{info.name}")
                for name, component in getattr(module, self.attribute, {}).items():
                    if name in self._entries:
                        raise ValueError(f"{self.kind} {name!r} is registered twice, again in {module.__name__}")
                    self._entries[name] = component
        return self._entries

    def __getitem__(self, name: str) -> Any:
        """The component of a name, or the object that ``package.module:Attribute`` points to.

        Raises:
            UnknownNameError: no such name; the message lists the nearest.
            ConfigError: the module or the attribute of a dotted name does not exist.
        """
        if ":" in name:
            return import_object(name, self.kind)
        entries = self._load()
        known = self.canonical(name)
        if known not in entries:
            raise unknown_name(self.kind, name, entries)
        return entries[known]

    def canonical(self, name: str) -> str:
        """The name as it is registered: an underscore counts as a hyphen where the name as given is unknown."""
        entries = self._load()
        hyphened = name.replace("_", "-")
        return hyphened if name not in entries and hyphened in entries else name

    def __setitem__(self, name: str, component: Any) -> None:
        self._load()[name] = component

    def __delitem__(self, name: str) -> None:
        del self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._load()))

    def __len__(self) -> int:
        return len(self._load())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.canonical(name) in self._load()


def import_object(path: str, kind: str) -> Any:
    """The object at ``package.module:Attribute``; the only place that imports code by a name.

    Raises:
        ConfigError: the name is not the user's own and no ``--trust`` was given, the module cannot be imported, or it
            has no such attribute.
    """
    if not permission.current().covers(path):
        raise ConfigError(
            f"{kind} {path!r}: names code to run, and it was a file that said so; add --trust if you trust it "
            f"(in Python: overfit_lab.config.permission.allow({path!r}))"
        )
    module_name, _, attribute = path.partition(":")
    try:
        with permission.searching():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{kind} {path!r}: cannot import module {module_name!r} ({error})") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f"{kind} {path!r}: module {module_name!r} has no attribute {attribute!r}") from error
