"""Posterior collapse: active units, and the information in the code about its datum."""

from ppl_vae.diagnostics.collapse.collapse import run_collapse
from ppl_vae.diagnostics.collapse.collapse_history import collapse_history
from ppl_vae.diagnostics.collapse.verdict import check_collapse

__all__ = ["check_collapse", "collapse_history", "run_collapse"]
