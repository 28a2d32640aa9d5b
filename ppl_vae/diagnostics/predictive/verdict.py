"""The verdict of predictive checks: whether the model makes such data, and which statistics differ if not.

R replicates bound a p-value by 2 / (R + 1). Where the data lie beyond all of them, the tail is that of Student's t
around the replicates, whose statistics of whole data sets are close to normal: for a normal statistic,
(T - mean) / (sd sqrt(1 + 1 / R)) has a t distribution with R - 1 degrees of freedom. Where all replicates are one
number there is no such tail, and the bound is all that is known. Nor is a tail believed below 1e-6: no p-value of
a finite number of draws is 0.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from ppl_vae.diagnostics.verdict import Level, Verdict, require_numbers, require_table
from ppl_vae.errors import ModelError
from ppl_vae.renamed import renamed

POPULATION, LOCAL = "population", "local"
DOUBTFUL, BAD = 0.05, 0.01
# From fewer replicates no spread is known: of ten, one lies beyond all others as a matter of course.
LEAST_REPLICATES = 20
# What a statistic that is close to normal may be trusted with in its tail.
LEAST_TAIL = 1e-6
SOURCE = {
    POPULATION: "population (prior predictive) replicates, Box 1980",
    LOCAL: "local (posterior predictive) replicates, Gelman, Meng & Stern 1996",
}

ADVICE = {
    POPULATION: "Compare the aggregate posterior with the prior, and the likelihood's noise with the data's.",
    LOCAL: "Look at the data with the smallest datum_p_value, and at the likelihood's noise.",
}
OPTIMISTIC = (
    "Local replicates come from the posterior of the very datum that they are compared with, an optimistic check: "
)


@renamed(predictive="numbers")
def check_predictive(numbers: xr.Dataset, kind: str = POPULATION) -> Verdict:
    """Judge one kind of replicates of ``run_predictive`` in one verdict.

    The figure is the smallest p-value times the number of statistics (Bonferroni), without a standard error where
    it comes from the t distribution or is at its end, 1; where that distribution's tail is below what can be
    believed of it, an upper limit, "at most". Where nothing strays from fewer than 20 replicates, the
    level is "unknown".

    Args:
        numbers: the numbers.
        kind: "population", whether the model makes such data, or "local", whether it makes each datum again.

    Raises:
        DataError: the numbers are none of ``run_predictive``, or some are NaN or infinite.
        ModelError: the kind is unknown.
    """
    columns = ("observed", "replicated", "p_value", "p_value_stderr")
    require_table("predictive", numbers, "run_predictive", columns, ("statistic", "draw"))
    require_numbers("predictive", numbers, but=("datum_p_value",))
    if kind not in SOURCE:
        raise ModelError(f"kind must be {POPULATION!r} or {LOCAL!r}, got {kind!r}")
    chosen = numbers.sel(kind=kind)
    p_values, beyond = _judged(chosen)
    count, worst = len(p_values), int(p_values.argmin())
    combined = min(1.0, count * float(p_values[worst]))
    level: Level = "good" if combined > DOUBTFUL else "doubtful" if combined > BAD else "bad"
    advice = "" if level == "good" else ADVICE[kind]
    words = _words(chosen, kind, level, p_values * count <= DOUBTFUL)
    if level == "good" and chosen.sizes["draw"] < LEAST_REPLICATES:
        level, advice = "unknown", "Draw more replicates."
    return Verdict(
        diagnostic="Population predictive check" if kind == POPULATION else "Local predictive check",
        level=level,
        value=combined,
        stderr=math.nan if beyond[worst] or combined == 1 else count * float(chosen["p_value_stderr"][worst]),
        unit="(smallest p, at most)" if p_values[worst] <= LEAST_TAIL else "(smallest p)",
        threshold=f"p > {DOUBTFUL:g} good, p <= {BAD:g} bad, Bonferroni over {count} statistics: {SOURCE[kind]}",
        words=words,
        advice=advice,
    )


def _judged(chosen: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Find the p-value of every statistic, and mark those beyond all replicates: [statistic] each."""
    p_values, draws = chosen["p_value"].to_numpy(), chosen["replicated"].to_numpy()
    number = draws.shape[-1]
    beyond = p_values <= 2 / (number + 1)
    if number < 2:
        return p_values, np.zeros_like(beyond)
    spread = draws.std(-1, ddof=1) * math.sqrt(1 + 1 / number)
    distance = abs(chosen["observed"].to_numpy() - draws.mean(-1))
    score = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
    tail = np.maximum(2 * stats.t.sf(score, number - 1), LEAST_TAIL)
    return np.where(beyond, np.minimum(p_values, tail), p_values), beyond


def _words(chosen: xr.Dataset, kind: str, level: Level, off: NDArray[np.bool_]) -> str:
    made = "drawn from p(z) p(x|z)" if kind == POPULATION else "drawn again from each datum's q(z|x)"
    if level == "good":
        said = (
            f"All {chosen.sizes['statistic']} statistics of the {chosen.attrs['num_data']} data lie among those of "
            f"{chosen.sizes['draw']} data sets {made}."
        )
    else:
        cases = "; ".join(_case(chosen.isel(statistic=index)) for index in np.flatnonzero(off))
        said = f"Data sets {made} differ from the data: {cases}."
    if kind == POPULATION:
        return said
    return f"{said} {OPTIMISTIC}{'passing proves little.' if level == 'good' else 'failing it weighs the more.'}"


def _case(of: xr.Dataset) -> str:
    draws = of["replicated"].to_numpy()
    return (
        f"{of['statistic'].item()} {float(of['observed']):.4g} in the data, "
        f"{draws.mean():.4g} ± {draws.std():.2g} in replicates"
    )
