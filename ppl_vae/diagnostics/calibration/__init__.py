"""Simulation-based calibration: ranks of the truth among draws of the guide."""

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.groups import calibration_table
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors

__all__ = [
    "SimulatedPosteriors",
    "calibration_table",
    "check_calibration",
    "run_calibration",
    "simulate_posteriors",
]
