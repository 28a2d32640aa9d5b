"""Predictive checks: replicated data beside the observed; a p-value for every datum (typicality)."""

from ppl_vae.diagnostics.predictive.foreign import check_foreign, run_foreign
from ppl_vae.diagnostics.predictive.predictive import check_predictive, run_predictive
from ppl_vae.diagnostics.predictive.typicality import check_typicality, run_typicality

__all__ = [
    "check_foreign",
    "check_predictive",
    "check_typicality",
    "run_foreign",
    "run_predictive",
    "run_typicality",
]
