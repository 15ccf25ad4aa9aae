"""Recipes and studies by name; a file of this room adds to them with ``REGISTER`` and ``GRIDS``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overfit_lab.config import RunConfig, parse_config
from overfit_lab.config.permission import allow, strings_of
from overfit_lab.config.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """A configuration with a name of its own.

    Args:
        content: nested keys and values; what is not given has its default.
        text: what it is, in a sentence.
    """

    content: Mapping[str, Any]
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.text)

    def __call__(self) -> dict[str, Any]:
        """The content, free to be changed."""
        return copy.deepcopy(dict(self.content))


@dataclass(frozen=True)
class Study:
    """A grid with a name: a recipe, and the values that some of its keys take.

    Args:
        recipe: name of the recipe.
        axes: as after ``--grid``: ``key=value,value``.
        text: what it studies, in a sentence.
        sets: what all of its runs change in the recipe, as after ``--set``.
    """

    recipe: str
    axes: tuple[str, ...]
    text: str
    sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.text)


RECIPES = Registry("recipe", "overfit_lab.config.recipes")
STUDIES = Registry("study", "overfit_lab.config.recipes", attribute="GRIDS")


def recipe(name: str) -> RunConfig:
    """The configuration of a recipe.

    Raises:
        UnknownNameError: no such recipe; the message lists the nearest.
        ConfigError: ``package.module:function`` that does not exist, or gives no configuration.
    """
    content = RECIPES[name]()
    if ":" in name:
        allow(*strings_of(content))  # it was written in code that may be run
    return parse_config(content, f"recipe {name}")
