"""Importance weights of the guide: Pareto k-hat and effective sample size per datum."""

from ppl_vae.diagnostics.importance.global_importance import check_global_importance, run_global_importance
from ppl_vae.diagnostics.importance.importance import check_importance, run_importance
from ppl_vae.diagnostics.importance.khat_groups import khat_table
from ppl_vae.diagnostics.importance.resampling import resample_posterior

__all__ = [
    "check_global_importance",
    "check_importance",
    "khat_table",
    "resample_posterior",
    "run_global_importance",
    "run_importance",
]
