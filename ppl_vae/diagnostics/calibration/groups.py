"""Calibration given a covariate: the ranks of every test quantity within its groups or deciles.

Ranks that are uniform over all simulated data may fail among those of one covariate: a guide that ignores c and
returns p(z|x) passes in every latent dimension as long as c varies as it does in the data.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.diagnostics.calibration.uniformity import uniformity_p_value
from ppl_vae.diagnostics.importance.khat_groups import groups_of
from ppl_vae.errors import DataError
from ppl_vae.renamed import renamed

# Fewer ranks than these tell nothing about a tenth.
LEAST_RANKS = 20


@renamed(ds="numbers")
def calibration_table(numbers: xr.Dataset, covariate: Array, name: str = "covariate") -> pd.DataFrame:
    """Test the ranks of ``run_calibration`` within the groups of a covariate of the data that were given to it.

    Args:
        numbers: of ``run_calibration``, which remembers which datum lent its covariates to a simulated one.
        covariate: a value for every datum [N]: at most ten values are groups, more make deciles.
        name: what it is called, for the index.

    Returns:
        The p-value against uniform by group (rows) and quantity (columns), with the column "simulations", how many
        simulated data a group has; NaN below 20 of them. The tests are exact one by one: of R rows and Q columns
        the smallest p-value is to be compared with a level divided by R Q.

    Raises:
        DataError: ds is none of ``run_calibration`` of data, or there is not one value per datum.
    """
    if not {"pit", "datum"} <= set(numbers.variables):
        raise DataError("table: expected what run_calibration returns for data with covariates")
    values = np.asarray(covariate.cpu() if isinstance(covariate, Tensor) else covariate)
    count = int(numbers.attrs["num_data"])
    if values.shape[:1] != (count,):
        raise DataError(f"{name}: expected [{count}], one for each datum, found shape {list(values.shape)}")
    lent = values[numbers["datum"].to_numpy()]
    groups = groups_of(lent, len(lent), name)
    if not groups:
        raise DataError(f"{name}: expected one value for each datum, [{count}], found shape {list(values.shape)}")
    rows = {group: _row(numbers, members) for group, members in groups.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(name)


def _row(ds: xr.Dataset, members: np.ndarray) -> dict[str, float]:
    parts = ds.sizes["fraction"] + 1
    pit = ds["pit"].to_numpy()[members]
    enough = len(members) >= LEAST_RANKS
    p_values = {
        str(quantity): uniformity_p_value(column, parts) if enough else np.nan
        for quantity, column in zip(ds["quantity"].to_numpy(), pit.T, strict=True)
    }
    return {"simulations": len(members), **p_values}
