"""The numbers that a verdict on a comparison stands on."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ppl_vae.errors import DataError

REQUIRED = (
    "value", "value_stderr", "bias_elbo", "bias_elbo_stderr", "bias_evidence", "bias_evidence_stderr", "num_draws",
    "of_elbo", "of_guide", "target", "side", "milliseconds", "milliseconds_stderr", "gradient_variance",
    "gradient_distance", "gradient_rounding", "snr", "cost",
)  # fmt: skip

# What the words stand on: nothing is said of a table in which one of them is no number. A signal-to-noise ratio is
# infinite where there is no noise, and of the evidence there may be no reference.
FINITE = (
    "value", "value_stderr", "bias_elbo", "bias_elbo_stderr", "milliseconds", "milliseconds_stderr",
    "gradient_variance", "gradient_distance", "gradient_rounding", "cost", "draw",
)  # fmt: skip


def require_comparison(numbers: xr.Dataset) -> None:
    """Refuse a table that ``compare_estimators`` did not make, or of which a figure is none.

    Raises:
        DataError: what is missing, or the variable that has NaN or infinite numbers, is named.
    """
    missing = [name for name in REQUIRED if name not in numbers]
    if missing or "estimator" not in numbers.dims or set(numbers["snr"].dims) != {"estimator", "group"}:
        raise DataError(
            f"table: expected what compare_estimators returns; missing {', '.join(missing) or 'its dimensions'}"
        )
    for name in (name for name in FINITE if name in numbers):
        broken = ~np.isfinite(numbers[name].to_numpy())
        if broken.any():
            raise DataError(f"table: {broken.sum()} of the {broken.size} numbers of {name!r} are NaN or infinite")
