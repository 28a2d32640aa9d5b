"""Estimates of log p(x) with their errors: importance sampling, annealing, a two-sided bracket."""

from ppl_vae.inference.evidence.bidirectional import EvidenceBracket, bidirectional_evidence
from ppl_vae.inference.evidence.curve import evidence_curve
from ppl_vae.inference.evidence.evidence import Evidence, log_evidence

__all__ = ["Evidence", "EvidenceBracket", "bidirectional_evidence", "evidence_curve", "log_evidence"]
