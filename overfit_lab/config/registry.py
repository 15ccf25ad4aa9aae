"""Names to components. A component is added by adding a file; nothing else is edited.

Every module of a family's package may define ``REGISTER``, a plain dict from name to component. The registry is the
union of those dicts. Where a name is taken, ``package.module:Attribute`` is taken too, so nobody needs to fork.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, MutableMapping
from typing import Any

from overfit_lab.config import permission
from overfit_lab.errors import ConfigError, unknown_name

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""``package.module:Attribute``."""
_prefixes: list[Registry] = []


class Registry(MutableMapping[str, Any]):
    """A dict that fills itself from the files of one package when it is first read.

    Args:
        kind: what an entry is called in messages, in the singular.
        package: dotted name of the package whose modules define the entries.
        attribute: name of the dict of entries in a module.
        prefixes: an entry's name may be followed by a colon and its argument, as in ``imagefolder:DIR``.
    """

    def __init__(self, kind: str, package: str, attribute: str = "REGISTER", *, prefixes: bool = False) -> None:
        self.kind = kind
        self.package = package
        self.attribute = attribute
        self._entries: dict[str, Any] = {}
        self._loaded = False
        if prefixes:
            _prefixes.append(self)

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


def takes_argument(word: str) -> bool:
    """Whether a word before a colon is no module: ``train:trades``, ``imagefolder:DIR``, ``torchvision:resnet18``."""
    return word == "train" or any(word in registry for registry in _prefixes)


def import_object(path: str, kind: str) -> Any:
    """The object at ``package.module:Attribute``; the only place that imports code by a name.

    Raises:
        ConfigError: it is no such name, the name is not the user's own and no ``--trust`` was given, the module cannot
            be imported, or it has no such attribute.
    """
    if not DOTTED.fullmatch(path):
        raise ConfigError(f"{kind} {path!r}: expected a name, or package.module:Attribute")
    module_name, _, attribute = path.partition(":")
    permitted = permission.current()
    # who types --data imagefolder:images names no module, though one may lie there and a key of the file ask for it
    free = permitted.everything or permitted.in_python
    if not permitted.covers(path) or (takes_argument(module_name) and not free):
        raise ConfigError(
            f"{kind} {path!r}: names code to run, and it was a file that said so; add --trust if you trust it "
            f"(in Python: overfit_lab.config.permission.allow({path!r}))"
        )
    try:
        with permission.searching():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{kind} {path!r}: cannot import module {module_name!r} ({error})") from error
    permission.allow(path)  # it has run: a file that is read later takes nothing back
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f"{kind} {path!r}: module {module_name!r} has no attribute {attribute!r}") from error
