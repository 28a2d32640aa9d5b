"""The guide beside a reference posterior that HMC drew."""

from ppl_vae.diagnostics.reference.reference_posterior import check_reference, run_reference

__all__ = ["check_reference", "run_reference"]
