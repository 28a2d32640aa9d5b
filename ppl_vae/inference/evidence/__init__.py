"""Estimates of log p(x) with their errors: importance sampling, annealing, a two-sided bracket."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.inference.evidence.bidirectional import EvidenceBracket, bidirectional_evidence
    from ppl_vae.inference.evidence.curve import evidence_curve
    from ppl_vae.inference.evidence.evidence import Evidence, log_evidence

__all__ = ["Evidence", "EvidenceBracket", "bidirectional_evidence", "evidence_curve", "log_evidence"]

load_names_lazily(__name__)
