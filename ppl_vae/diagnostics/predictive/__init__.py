"""Predictive checks: replicated data beside the observed."""

from ppl_vae.diagnostics.predictive.predictive import check_predictive, run_predictive

__all__ = ["check_predictive", "run_predictive"]
