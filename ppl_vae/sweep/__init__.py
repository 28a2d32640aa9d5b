"""Sweeps: trials of a recipe over a grid or a space of options, on the executor of an existing engine."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.sweep.sweep import sweep

__all__ = ["sweep"]

load_names_lazily(__name__)
