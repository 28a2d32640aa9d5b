"""Estimates of log p(x) beside one another, and verdicts on their agreement."""

from ppl_vae.diagnostics.evidence.bracket import check_bracket
from ppl_vae.diagnostics.evidence.evidence import check_evidence, run_evidence

__all__ = ["check_bracket", "check_evidence", "run_evidence"]
