"""The simulated truth against the guide's draws: recovery, z-scores, contraction, calibration error."""

from ppl_vae.diagnostics.recovery.recovery import check_recovery, run_recovery

__all__ = ["check_recovery", "run_recovery"]
