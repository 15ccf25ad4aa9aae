"""Parameter names of another code base for a network that we have as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
"""Pairs of a regular expression and its replacement, applied in order to each name."""


@dataclass(frozen=True)
class Layout:
    """Rename rules from a code base's names to ours. It says nothing of arithmetic: that is the family's matter.

    Args:
        source: which code bases write these names.
        family: ``family`` of the networks of ours that compute what those code bases compute.
        mark: a name that gives this layout away, where it has one.
        unused: regular expression of parameters that those code bases carry and never use.
        caution: what the names leave open, for a note when such a file is loaded.
    """

    source: str
    family: str
    models: str
    rules: Rules
    mark: str = ""
    unused: str = ""
    caution: str = ""

    def rename(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict with our names, without unused tensors; of two names that would collide the later stays."""
        renamed: dict[str, Tensor] = {}
        for name, tensor in state.items():
            if self.unused and re.match(self.unused, name):
                continue
            ours = name
            for pattern, replacement in self.rules:
                ours = re.sub(pattern, replacement, ours)
            renamed[name if ours in renamed else ours] = tensor
        return renamed


def stages(pattern: str, count: int, *, first: int) -> Rules:
    """Rules for numbered stages: ``layer{}.`` with ``first=1`` gives ``layer1.`` to ``stages.0.`` and so on."""
    return tuple((rf"^{pattern.format(first + i)}", f"stages.{i}.") for i in range(count))
