"""The verdict on a comparison in words, which says no more than the numbers bear out.

A variance is the mean over repeats of squared distances d_r of a gradient from its mean. The logarithm of the
ratio of two variances has, by the delta method, the standard error sd(d_r / mean d - d'_r / mean d') / sqrt(R):
repeats have the same noise, and heavy tails show in it. It is not let below that of independent normal gradients,
sqrt(4 / R), and is widened by a share of 10 / R, since few repeats seldom show their tail. A cost has its timing's
error besides. Whatever lies within three of these errors of the best is named beside it: how seldom one of two
equals is named alone, benchmarks/verdict_rules.py measures. The distances are from the reference gradient, which
is the mean of an estimator of the ELBO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.inference.laboratory.ranking import Ranking
from ppl_vae.inference.laboratory.required import require_comparison
from ppl_vae.renamed import renamed

ERRORS = 3.0
# How many repeats' worth an error is widened by.
SMALL = 10


@renamed(table="numbers")
def check_estimators(numbers: xr.Dataset) -> Ranking:
    """Rank the estimators of a table of ``compare_estimators`` by their cost to a given accuracy.

    Returns:
        A table and one sentence; and, in ``details``, which estimators of the plain ELBO have the least gradient
        variance and which are the cheapest, in every group of parameters; whose values differ from the ELBO; where
        more draws leave the guide's gradient noisier than fewer; and what the references are.

    Raises:
        DataError: the table is not one of ``compare_estimators``, or some of its numbers are NaN or infinite.
    """
    require_comparison(numbers)
    parts = (_winners, _unranked, _values, _particles)
    sentences = [_references(numbers), *(sentence for part in parts for sentence in part(numbers))]
    return Ranking(_ranked(numbers), _sentence(numbers), " ".join(sentences))


def _sentence(table: xr.Dataset) -> str:
    chosen = _of_elbo(table)
    if chosen.sizes["estimator"] < 2:
        return "Fewer than two estimators of the plain ELBO were compared, so that none is the cheapest."
    timing = (chosen["milliseconds_stderr"] / chosen["milliseconds"]).to_numpy()
    biased = [name for name, *_ in _biased(table)]
    differ = f"; values other than the ELBO's have {_several(biased)}" if biased else ""
    return f"The cost to a given accuracy (variance x time) is {_least(chosen, 'cost', timing)}{differ}."


def _ranked(table: xr.Dataset) -> pd.DataFrame:
    """Tabulate the estimators, those of the plain ELBO by the geometric mean of cost over least cost in a group."""
    relative = np.full(table.sizes["estimator"], np.nan)
    own = np.flatnonzero(table["of_elbo"].to_numpy())
    if len(own):
        cost = table["cost"].transpose("estimator", "group").to_numpy()[own]
        least = cost.min(0)
        ratio = np.divide(cost, least, out=np.where(cost > least, np.inf, 1.0), where=least > 0)
        relative[own] = np.exp(np.log(ratio).mean(1))
    rows = pd.DataFrame(
        {
            "relative cost": relative,
            "milliseconds": table["milliseconds"].to_numpy(),
            "minus ELBO": table["bias_elbo"].to_numpy(),
            "its error": table["bias_elbo_stderr"].to_numpy(),
            "of": [str(target) or "not stated" for target in table["target"].to_numpy()],
        },
        index=pd.Index(_labels(table), name="estimator"),
    )
    rows = rows.sort_values("relative cost", kind="stable", na_position="last")
    rows.insert(0, "rank", rows["relative cost"].rank(method="min").astype("Int64"))
    return rows


def _of_elbo(table: xr.Dataset) -> xr.Dataset:
    return table.isel(estimator=np.flatnonzero(table["of_elbo"].to_numpy()))


def _biased(table: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """The estimators whose value is beyond three standard errors of the ELBO, each with its numbers."""
    rows = [(name, table.isel(estimator=index)) for index, name in enumerate(_labels(table))]
    rounding = table.attrs["rounding"]
    return [
        (name, row)
        for name, row in rows
        if abs(float(row["bias_elbo"])) > ERRORS * float(row["bias_elbo_stderr"]) + rounding
    ]


def _references(table: xr.Dataset) -> str:
    of = table.attrs
    evidence = f"that for log p(x) {_number(of['evidence'], of['evidence_stderr'])} ({of['evidence_reference']})."
    if math.isnan(of["evidence"]):
        evidence = f"and there is none for log p(x) ({of['evidence_reference']})."
    return (
        f"On {of['num_data']} data with {of['repeats']} repeats, the reference for the ELBO is "
        f"{_number(of['elbo'], of['elbo_stderr'])} nats per datum ({of['elbo_reference']}), {evidence}"
    )


def _winners(table: xr.Dataset) -> list[str]:
    chosen = _of_elbo(table)
    if chosen.sizes["estimator"] < 2:
        return []
    timing = (chosen["milliseconds_stderr"] / chosen["milliseconds"]).to_numpy()
    said = (
        f"the gradient variance is {_least(chosen, 'gradient_variance', 0 * timing)}",
        f"the cost to a given accuracy (variance x time) is {_least(chosen, 'cost', timing)}",
    )
    return [f"Among the {chosen.sizes['estimator']} estimators of the plain ELBO, {'; '.join(said)}."]


def _least(chosen: xr.Dataset, variable: str, clock: NDArray[np.float64]) -> str:
    """Name, by group, the estimators whose number is level with the least, given the relative errors of a clock."""
    names = np.array(_labels(chosen))
    best: dict[str, list[str]] = {}
    for group in chosen["group"].to_numpy():
        of_group = chosen.sel(group=group)
        values = of_group[variable].to_numpy()
        rounded = of_group["gradient_variance"].to_numpy() <= float(of_group["gradient_rounding"]) ** 2
        values = np.where(rounded, 0.0, values)
        error = np.hypot(_ratio_errors(of_group["gradient_distance"].to_numpy(), values), _apart(clock, values))
        level = _level_with_least(values, error)
        winners = "too close to call" if level.all() else f"least for {_several(names[level])}"
        best.setdefault(winners, []).append(str(group))
    return _by_group(best, chosen.sizes["group"])


def _ratio_errors(distance: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard error of the logarithm of every variance's ratio to that of the least value: [E].

    Args:
        distance: squared, of every estimator's repeats from the mean gradient [E, R].
        values: [E].
    """
    mean = distance.mean(1, keepdims=True)
    relative = np.divide(distance, mean, out=np.ones_like(distance), where=mean > 0)
    apart = relative - relative[int(values.argmin())]
    count = distance.shape[1]
    errors = np.maximum(apart.std(1, ddof=1), 2.0) / math.sqrt(count)
    return np.asarray(errors * (1 + SMALL / count))


def _apart(error: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The relative error of every value's ratio to the least, from independent relative errors: 0 for itself."""
    best = int(values.argmin())
    errors = np.hypot(error, error[best])
    errors[best] = 0.0
    return np.asarray(errors)


def _level_with_least(values: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the values that exceed the least by no more than the errors of the logarithms of their ratios."""
    best = int(values.argmin())
    if values[best] <= 0:
        return np.asarray(values <= 0)
    # An exactly equal value, as of estimators that share a gradient, is level however small the noise.
    return np.asarray(np.log(values / values[best]) <= ERRORS * error)


def _unranked(table: xr.Dataset) -> list[str]:
    """Estimators that do not say what they estimate."""
    silent = [name for name, target in zip(_labels(table), table["target"].to_numpy(), strict=True) if not target]
    if not silent:
        return []
    return [f"Not ranked, because they state no target (Estimator.target): {_several(silent)}."]


def _by_group(groups: Mapping[str, Sequence[str]], count: int) -> str:
    if len(groups) == 1 and count > 1:
        return f"{next(iter(groups))} in every group"
    return ", ".join(f"{winners} in {_several(names)}" for winners, names in groups.items())


def _values(table: xr.Dataset) -> list[str]:
    """The values beyond three standard errors of the ELBO, and where those stand to log p(x)."""
    biased, names = [], _labels(table)
    for name, row in _biased(table):
        bias, error = float(row["bias_elbo"]), float(row["bias_elbo_stderr"])
        gap, gap_error = float(row["bias_evidence"]), float(row["bias_evidence_stderr"])
        clear = abs(gap) > ERRORS * gap_error + table.attrs["rounding"]
        evidence = f" ({_number(abs(gap), gap_error)} {'above' if gap > 0 else 'below'} log p(x))" if clear else ""
        biased.append(f"{name} {_number(bias, error, sign=True)}{evidence}")
    if not biased:
        return [f"No value differs from the ELBO by more than {ERRORS:.0f} standard errors."]
    rest = "; the others do not, beyond noise" if len(biased) < len(names) else ""
    return [f"Values that differ from the ELBO, in nats per datum: {'; '.join(biased)}{rest}."]


def _particles(table: xr.Dataset) -> list[str]:
    """Bounds of several draws whose gradient for the guide is noisier than that of the ELBO from fewer draws."""
    cases = []
    draws, of_elbo = table["num_draws"].to_numpy(), table["of_elbo"].to_numpy()
    for group in table["group"].to_numpy()[table["of_guide"].to_numpy()]:
        snr = table["snr"].sel(group=group).to_numpy()
        error = np.sqrt((1 + snr**2 / 2) / table.attrs["repeats"])
        rivals = of_elbo & (draws < draws[~of_elbo].min(initial=np.iinfo(draws.dtype).max))
        if of_elbo.all() or not rivals.any():
            continue
        best = int(np.where(rivals & ~np.isnan(snr), snr, -np.inf).argmax())
        # Without noise a ratio is infinite, and nothing is said of it.
        with np.errstate(invalid="ignore"):
            hurt = ~of_elbo & (snr[best] - snr > ERRORS * np.hypot(error[best], error))
        if hurt.any():
            words = [f"{snr[i]:.2g} of {table['estimator'].item(i)}" for i in np.flatnonzero(hurt)]
            cases.append(f"{_several(words)} against {snr[best]:.2g} of {_labels(table)[best]} in {group}")
    if not cases:
        return []
    return [f"Despite more draws, the guide's signal-to-noise ratio is lower: {'; '.join(cases)}."]


def _labels(table: xr.Dataset) -> list[str]:
    """Names, with the number of draws where it is not one."""
    pairs = zip(table["estimator"].to_numpy(), table["num_draws"].to_numpy(), strict=True)
    return [str(name) if draws == 1 else f"{name} ({draws} draws)" for name, draws in pairs]


def _several(names: Sequence[str] | NDArray[np.str_]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else str(last)


def _number(value: float, error: float, sign: bool = False) -> str:
    """Write a value to the second digit of its standard error."""
    digits = 3 if not error > 0 else max(0, 1 - math.floor(math.log10(error)))
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text if error == 0 else f"{text} ± {error:.{digits}f}"
