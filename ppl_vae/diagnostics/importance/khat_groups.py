"""The k-hat by class and by decile of the ELBO shows for which data the guide fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ppl_vae.diagnostics.importance.importance import khat_of
from ppl_vae.errors import DataError
from ppl_vae.renamed import renamed


@renamed(ds="numbers", labels="y")
def khat_table(numbers: xr.Dataset, y: Any = None) -> pd.DataFrame:
    """Summarise the numbers of ``run_importance`` by group.

    Args:
        numbers: of ``run_importance``.
        y: the class of every datum [N]; without them there are deciles alone.

    Returns:
        A row for all data, one a class and one a tenth of the data by ELBO (the first has the lowest), indexed by
        ("by", "group"), with columns: data, exact (how many), khat_median, khat_max, above (the share of data with
        k-hat above the threshold), ess_median, elbo (mean, nats).

    Raises:
        DataError: ds is none of ``run_importance``, or labels have another length.
    """
    khat, _, _ = khat_of(numbers)
    count = len(khat)
    groups: dict[tuple[str, Any], np.ndarray] = {("all", ""): np.arange(count)}
    if y is not None:
        classes = np.asarray(y)
        if classes.shape != (count,):
            raise DataError(f"labels: expected [{count}], one for each datum, found shape {list(classes.shape)}")
        groups |= {("class", label): np.flatnonzero(classes == label) for label in np.unique(classes).tolist()}
    tenths = np.array_split(numbers["elbo"].to_numpy().argsort(kind="stable"), 10)
    groups |= {("elbo decile", number): tenth for number, tenth in enumerate(tenths, 1) if len(tenth)}
    rows = [_row(numbers.isel(datum=members)) for members in groups.values()]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(list(groups), names=("by", "group")))


def _row(ds: xr.Dataset) -> dict[str, float]:
    khat, exact, limit = khat_of(ds)
    finite = khat[np.isfinite(khat)]
    judged = int((exact | np.isfinite(khat)).sum())
    return {
        "data": len(khat),
        "exact": int(exact.sum()),
        "khat_median": float(np.median(finite)) if len(finite) else np.nan,
        "khat_max": float(finite.max()) if len(finite) else np.nan,
        "above": float((finite > limit).sum() / judged) if judged else np.nan,
        "ess_median": float(np.median(ds["ess"])),
        "elbo": float(ds["elbo"].mean()),
    }
