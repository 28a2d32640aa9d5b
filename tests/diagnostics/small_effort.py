"""As little as every diagnostic runs on."""

from ppl_vae.diagnostics import Effort

SMALL = Effort(
    num_data=30,
    num_samples=200,
    annealed_data=4,
    annealed_chains=4,
    annealed_temperatures=100,
    num_simulations=100,
    num_draws=19,
    num_replicates=20,
    gap_data=4,
    gap_steps=40,
    gap_samples=200,
    reference_data=2,
    reference_samples=30,
    reference_warmup=30,
    reference_chains=2,
    worst_data=0,
)
# The topics without fits or chains of their own.
CHEAP = ["importance", "calibration", "collapse", "predictive"]
