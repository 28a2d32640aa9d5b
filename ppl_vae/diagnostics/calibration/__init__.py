"""Simulation-based calibration: ranks of the truth among draws of the guide."""

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors

__all__ = ["SimulatedPosteriors", "check_calibration", "run_calibration", "simulate_posteriors"]
