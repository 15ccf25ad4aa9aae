"""Named configurations: what to train, in a file for each scale. Imports no component and no torch."""

from overfit_lab.config.recipes.book import RECIPES, STUDIES, recipe

__all__ = ["RECIPES", "STUDIES", "recipe"]
