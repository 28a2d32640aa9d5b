"""The comparison at several numbers of particles: bias, variance and SNR against K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators.table import get_elbo, list_estimators
from ppl_vae.inference.laboratory.comparison import compare_estimators
from ppl_vae.inference.pair.pair import PairLike


def compare_over_particles(
    pair: PairLike,
    x: Data,
    estimators: Sequence[str],
    num_particles: Sequence[int] = (1, 4, 16, 64),
    **options: Any,
) -> xr.Dataset:
    """``compare_estimators`` at every K, joined along "num_particles".

    Args:
        pair: as there.
        x: as there.
        estimators: names; one that is not defined at some K (rloo and vimco at 1) has NaN there.
        num_particles: the values of K.
        **options: further arguments of ``compare_estimators``.

    Raises:
        ModelError: a name is unknown, none is defined at some K, or the pair is refused.
    """
    for name in estimators:
        if name not in list_estimators():
            raise ModelError(unknown_name("estimator", name, list_estimators()))
    tables = []
    for k in num_particles:
        defined = [name for name in estimators if _is_defined(name, k)]
        if not defined:
            raise ModelError(f"none of the estimators is defined at num_particles = {k}: {', '.join(estimators)}")
        table = compare_estimators(pair, x, defined, num_particles=k, **options)
        missing = {name: False if v.dtype == bool else 0 for name, v in table.items() if v.dtype.kind in "bi"}
        gaps = {name: missing.get(name, float("nan")) for name in table}
        tables.append(table.reindex(estimator=list(estimators), fill_value=gaps))
    joined = xr.concat(tables, "num_particles", data_vars="all", combine_attrs="drop_conflicts")
    return joined.assign_coords(num_particles=list(num_particles)).assign(of_guide=tables[0]["of_guide"])


def _is_defined(name: str, num_particles: int) -> bool:
    try:
        get_elbo(name, num_particles=num_particles)
    except ModelError:
        return False
    return True
