"""The simulated truth against draws of the guide: ranks (SBC), coverage of regions, recovery, contraction."""

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.groups import calibration_table
from ppl_vae.diagnostics.calibration.recovery import check_recovery, run_recovery
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors

__all__ = [
    "SimulatedPosteriors",
    "calibration_table",
    "check_calibration",
    "check_coverage",
    "check_recovery",
    "run_calibration",
    "run_coverage",
    "run_recovery",
    "simulate_posteriors",
]
