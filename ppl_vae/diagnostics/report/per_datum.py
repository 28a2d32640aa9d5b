"""The numbers of a diagnosis by datum, as the columns of one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.arrays import Array
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.diagnosis import REFUSALS, Diagnosis
from ppl_vae.diagnostics.predictive.typicality import run_typicality
from ppl_vae.diagnostics.topics import Case
from ppl_vae.diagnostics.verdict import share_stderr
from ppl_vae.errors import DataError
from ppl_vae.explore.scene import Column

KHAT, CLASS, P_VALUE = "k-hat", "class", "out-of-distribution p-value"
NATS = "nats"
# How much is drawn for the p-value of a datum among simulated ones; the smallest is 2 / (2 + SIMULATIONS).
SIMULATIONS, SAMPLES = 400, 50
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Told:
    """A number that a topic tells of single data."""

    topic: str
    variable: str
    title: str
    unit: str
    description: str


NUMBERS = (
    Told("importance", "khat", KHAT, "", "Pareto shape of the importance weights, not to be relied on above 0.7."),
    Told("importance", "ess", "ESS", "", "Effective sample size of the importance weights."),
    Told("importance", "log_evidence", "log p(x)", NATS, "Importance bound on log p(x)."),
    Told("importance", "elbo", "ELBO", NATS, "Evidence lower bound of the datum."),
    Told("evidence", "annealed", "log p(x), annealed", NATS, "log p(x) by annealed importance sampling."),
    Told("gaps", "approximation_gap", "approximation gap", NATS, "What the guide's family costs on this datum."),
    Told("gaps", "amortisation_gap", "amortisation gap", NATS, "What the encoder costs on this datum."),
    Told("reference", "c2st", "C2ST", "", "How well a classifier tells guide and HMC apart: 0.5 where it cannot."),
    Told("reference", "mean_difference", "mean off by", "posterior sd", "Largest difference of means."),
    Told("reference", "rhat", "R-hat", "", "Convergence of HMC on this datum; 1 is converged."),
)  # fmt: skip


def columns_of(diagnosis: Diagnosis, case: Case, own: Mapping[str, Array]) -> list[Column]:
    """Collect classes, every number per datum with its error, covariates, and columns of the caller's own.

    Raises:
        DataError: a column of the caller's own is of another number of data.
    """
    found = [] if diagnosis.y is None else [Column(CLASS, np.asarray(diagnosis.y), description="The label given.")]
    found += [column for told in NUMBERS if (column := _told(told, diagnosis)) is not None]
    found += [*_missed(diagnosis), *_from_draws(diagnosis, case), *_p_values(case), *_predictive(diagnosis)]
    found += [Column("row", np.asarray(diagnosis.chosen), description="Its place in the data given, from 0.")]
    found += [Column(name, _flat(values)) for name, values in diagnosis.covariates.items() if values[0].size == 1]
    given = [Column(str(name), _own(str(name), values, len(diagnosis.x))) for name, values in own.items()]
    return _with_titles_of_their_own([*found, *given])


def _with_titles_of_their_own(columns: list[Column]) -> list[Column]:
    """Number the titles that come again."""
    seen: dict[str, int] = {}
    for column in columns:
        seen[column.title] = seen.get(column.title, 0) + 1
        if seen[column.title] > 1:
            object.__setattr__(column, "title", f"{column.title} ({seen[column.title]})")
    return columns


def _told(told: Told, diagnosis: Diagnosis) -> Column | None:
    """A number of a topic; NaN on the data that the topic did not take, which are the last."""
    numbers = diagnosis.numbers.get(told.topic)
    if numbers is None or told.variable not in numbers:
        return None
    if "split" in numbers[told.variable].dims:
        numbers = numbers.sel(split="test") if "test" in numbers["split"] else numbers.isel(split=0)
    values = _padded(numbers[told.variable], len(diagnosis.x))
    if values is None or np.isnan(values).all():
        return None
    error = f"{told.variable}_stderr"
    errors = _padded(numbers[error], len(diagnosis.x)) if error in numbers else None
    return Column(told.title, values, errors, told.unit, told.description)


def _padded(values: xr.DataArray, size: int) -> Floats | None:
    if values.dims != ("datum",) or values.sizes["datum"] > size:
        return None
    return np.concatenate([values.to_numpy().astype(float), np.full(size - values.sizes["datum"], math.nan)])


def _missed(diagnosis: Diagnosis) -> list[Column]:
    """Say of the data that were searched whether a mode that the guide does not know was found."""
    closer = diagnosis.closer
    if closer is None:
        return []
    values = np.full(len(diagnosis.x), "", "<U3")
    values[closer.indices] = np.where(closer.missed, "yes", "no")
    words = "Whether its posterior has a mode that no draw of the guide came to; sought where k-hat is largest."
    return [Column("missed mode", values, description=words)]


def _from_draws(diagnosis: Diagnosis, case: Case) -> list[Column]:
    """KL and distortion of every datum, from the draws of the ArviZ object."""
    if diagnosis.inference_data is None or case.of_set:
        return []
    groups = container.groups_of(diagnosis.inference_data)
    log_weight = groups["sample_stats"]["log_weight"].to_numpy()[0]
    (name,) = list(groups["log_likelihood"].data_vars)[:1]
    log_likelihood = groups["log_likelihood"][name].to_numpy()[0]
    if log_likelihood.shape != log_weight.shape or log_weight.shape[1] != len(diagnosis.x):
        return []
    words = f"Mean over {len(log_weight)} draws of the guide"
    return [
        _mean("KL", log_likelihood - log_weight, f"{words} of log q(z|x) / p(z): what the code costs."),
        _mean("distortion", -log_likelihood, f"{words} of minus log p(x|z): how badly the datum is reconstructed."),
    ]


def _mean(title: str, draws: Floats, description: str) -> Column:
    errors = draws.std(0, ddof=1) / math.sqrt(len(draws))
    return Column(title, draws.mean(0), errors, NATS, description)


def _p_values(case: Case) -> list[Column]:
    """The p-value of every datum among data that the model simulates; none where it cannot simulate."""
    try:
        numbers = run_typicality(case.pair, case.rows(), SIMULATIONS, SAMPLES, seed=case.seed)
    except REFUSALS:
        return []
    values = numbers["p_value"].to_numpy()
    errors = _share_errors(values, numbers.sizes["simulation"])
    words = f"Rank of log p(x) and code among {numbers.sizes['simulation']} simulated data; small is foreign."
    return [Column(P_VALUE, values, errors, "", words)]


def _predictive(diagnosis: Diagnosis) -> list[Column]:
    numbers = diagnosis.numbers.get("predictive")
    if numbers is None or "datum_p_value" not in numbers or numbers["datum_p_value"].dims != ("statistic", "datum"):
        return []
    draws = numbers.sizes["draw"]
    found = []
    for name in numbers["statistic"].to_numpy():
        values = numbers["datum_p_value"].sel(statistic=name).to_numpy().astype(float)
        if np.isnan(values).all():
            continue
        errors = _share_errors(values, draws)
        words = f"Two-sided p-value of the statistic {name} among {draws} replicates of the datum."
        found.append(Column(f"p of {name}", values, errors, "", words))
    return found


def _share_errors(values: Floats, count: int) -> Floats:
    """The standard errors of p-values, each a rank among ``count``."""
    return np.array([share_stderr(value, count) if math.isfinite(value) else math.nan for value in values])


def _flat(values: Array) -> NDArray[np.generic]:
    return np.asarray(values).reshape(-1)


def _own(name: str, values: Array, size: int) -> NDArray[np.generic]:
    found = np.asarray(values)
    if found.shape != (size,):
        raise DataError(
            f"column {name!r}: expected a value for each of the {size} diagnosed data (diagnosis.chosen), "
            f"found shape {list(found.shape)}"
        )
    return found if found.dtype.kind in "fiu" else np.array([str(value) for value in found])
