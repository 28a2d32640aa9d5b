"""Recipes: named points on the three axes (generative model, guide, objective), one row of a table each."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.recipes.recipe import Recipe, Row
    from ppl_vae.recipes.table import RECIPES, list_recipes, make, option_names

__all__ = ["RECIPES", "Recipe", "Row", "list_recipes", "make", "option_names"]

load_names_lazily(__name__)
