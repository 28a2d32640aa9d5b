"""The gap between log p(x) and the ELBO, split into family, encoder and unseen data."""

from ppl_vae.diagnostics.gaps.gaps import check_gaps, run_gaps

__all__ = ["check_gaps", "run_gaps"]
