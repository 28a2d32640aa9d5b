"""The simulated truth against draws of the guide: ranks (SBC), coverage of regions, recovery, contraction."""

from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
from ppl_vae.diagnostics.calibration.groups import calibration_table
from ppl_vae.diagnostics.calibration.local_c2st import check_local_c2st, run_local_c2st
from ppl_vae.diagnostics.calibration.posterior_calibration import (
    check_posterior_calibration,
    run_posterior_calibration,
)
from ppl_vae.diagnostics.calibration.recovery import check_recovery, run_recovery
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors

__all__ = [
    "SimulatedPosteriors",
    "calibration_table",
    "check_calibration",
    "check_coverage",
    "check_local_c2st",
    "check_posterior_calibration",
    "check_recovery",
    "run_calibration",
    "run_coverage",
    "run_local_c2st",
    "run_posterior_calibration",
    "run_recovery",
    "simulate_posteriors",
]
