"""Are the data like what the model simulates? A p-value for every datum."""

from ppl_vae.diagnostics.typicality.typicality import check_typicality, run_typicality

__all__ = ["check_typicality", "run_typicality"]
