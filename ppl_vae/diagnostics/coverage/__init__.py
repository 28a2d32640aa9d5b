"""Expected coverage of the guide's credible regions on simulated data."""

from ppl_vae.diagnostics.coverage.coverage import check_coverage, run_coverage

__all__ = ["check_coverage", "run_coverage"]
