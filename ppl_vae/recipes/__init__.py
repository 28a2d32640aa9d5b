"""Recipes: named points on the three axes (generative model, guide, objective), one row of a table each."""

from ppl_vae.recipes.recipe import Recipe, Row
from ppl_vae.recipes.table import RECIPES, list_recipes, make, option_names

__all__ = ["RECIPES", "Recipe", "Row", "list_recipes", "make", "option_names"]
