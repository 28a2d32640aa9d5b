"""The k-hat by class, by covariate and by decile of the ELBO shows for which data the guide fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.containers import Labels, is_container, opened
from ppl_vae.diagnostics.importance.importance import khat_of
from ppl_vae.errors import DataError
from ppl_vae.renamed import renamed

# A covariate with at most so many values is tabled by value, one with more by decile.
MOST_VALUES = 10


@renamed(ds="numbers", labels="y")
def khat_table(
    numbers: xr.Dataset, y: object = None, covariates: Mapping[str, Array] | None = None
) -> pd.DataFrame:
    """Summarise the numbers of ``run_importance`` by group.

    Args:
        numbers: of ``run_importance``.
        y: the class of every datum [N]; without them there are deciles alone. Data without one (NaN, None) are the
            class "missing".
        covariates: by name, a value for every datum [N]: numbers, text or categories. One of at most ten values is
            tabled by value, one of more by decile; vectors [N, ...] are left out.

    Returns:
        A row for all data, one a class, one a value or tenth of each covariate (named by the range of its values),
        and one a tenth of the data by ELBO (the first has the lowest), indexed by ("by", "group"), with columns:
        data, exact (how many), khat_median, khat_max, above (the share of data with k-hat above the threshold),
        ess_median, elbo (mean, nats).

    Raises:
        DataError: ds is none of ``run_importance``, or labels or a covariate have another length, or rows that are
            named in another order than the data.
    """
    khat, _, _ = khat_of(numbers)
    count = len(khat)
    groups: dict[tuple[str, object], np.ndarray] = {("all", ""): np.arange(count)}
    if y is not None:
        classes = np.asarray(y)
        if classes.shape != (count,):
            raise DataError(f"labels: expected [{count}], one for each datum, found shape {list(classes.shape)}")
        _require_same_rows(numbers, y, "y")
        codes, known = pd.factorize(classes, sort=True)
        groups |= {("class", _plain(label)): np.flatnonzero(codes == code) for code, label in enumerate(known)}
        missing = np.flatnonzero(codes < 0)
        groups |= {("class", "missing"): missing} if len(missing) else {}
    for name, values in (covariates or {}).items():
        _require_same_rows(numbers, values, name)
        groups |= {(name, group): members for group, members in groups_of(values, count, name).items()}
    tenths = np.array_split(numbers["elbo"].to_numpy().argsort(kind="stable"), 10)
    groups |= {("elbo decile", number): tenth for number, tenth in enumerate(tenths, 1) if len(tenth)}
    rows = [_row(numbers.isel(datum=members)) for members in groups.values()]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(list(groups), names=("by", "group")))


def _require_same_rows(numbers: xr.Dataset, values: object, name: str) -> None:
    """Refuse values whose rows are named in another order than the data of the numbers."""
    if is_container(values) and "datum" in numbers.coords:
        Labels(numbers["datum"].to_numpy()).require_same_rows(opened(values).labels, name)


def groups_of(values: Array, count: int, name: str = "covariate") -> dict[object, np.ndarray]:
    """Group data by a covariate: by value where there are at most ten, else into tenths named by their ranges.

    Args:
        values: one for every datum [N]; a vector [N, ...] gives no groups.
        count: N.
        name: what it is called, for an error.

    Returns:
        The members of every group. Data without a value (NaN, None) are in a group "missing".

    Raises:
        DataError: there are not N values.
    """
    column = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if column.shape[:1] != (count,):
        raise DataError(f"{name}: expected [{count}], one for each datum, found shape {list(column.shape)}")
    column = column.reshape(count, -1)
    if column.shape[1] != 1:
        return {}
    codes, known = pd.factorize(column[:, 0], sort=True)
    groups: dict[object, np.ndarray]
    if len(known) <= MOST_VALUES or column.dtype.kind not in "iuf":
        groups = {_plain(value): np.flatnonzero(codes == code) for code, value in enumerate(known)}
    else:
        present = np.flatnonzero(codes >= 0)
        tenths = np.array_split(present[codes[present].argsort(kind="stable")], 10)
        groups = {_range(column[tenth, 0]): tenth for tenth in tenths if len(tenth)}
    missing = np.flatnonzero(codes < 0)
    return groups | ({"missing": missing} if len(missing) else {})


def _plain(value: object) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _range(values: np.ndarray) -> str:
    return f"{values.min():.6g} to {values.max():.6g}"


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
