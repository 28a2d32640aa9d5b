"""The verdict on posterior collapse: how many latent dimensions are used."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.verdict import ERRORS, Level, Verdict, require_finite, require_table
from ppl_vae.renamed import renamed


@renamed(table="numbers")
def check_collapse(numbers: xr.Dataset) -> Verdict:
    """Judge how many latent dimensions are used.

    Args:
        numbers: of ``run_collapse``.

    Returns:
        "good" where every dimension is active, "doubtful" where some are not, "bad" where none is; "unknown" where
        that depends on variances within two standard errors of the threshold, or of two data, which show none.

    Raises:
        DataError: the numbers are none of ``run_collapse``, or the variances are NaN or infinite.
    """
    columns = ("active", "posterior_mean_variance", "posterior_mean_variance_stderr")
    names = (*columns, "mutual_information", "log_num_data")
    require_table("table", numbers, "run_collapse", names, ("latent",))
    for name in ("posterior_mean_variance", "log_num_data"):
        require_finite("table", name, numbers[name])
    require_finite("table", "prior_variance", _prior_variance(numbers))
    if not numbers["mutual_information"].isnull():
        require_finite("table", "mutual_information_stderr", numbers["mutual_information_stderr"])
    active = numbers["active"].to_numpy()
    idle = np.flatnonzero(~active)
    clear = _clear(numbers)
    level: Level = "good" if not len(idle) else "doubtful" if len(idle) < len(active) else "bad"
    # One that is active and one that is not are enough for "doubtful", whatever the others are.
    if not clear.all() and not ((clear & active).any() and (clear & ~active).any()):
        level = "unknown"
    which = _which(numbers, idle, len(active))
    words = f"{active.sum()} of {len(active)} latent dimensions are active{which}."
    information = float(numbers["mutual_information"])
    if not math.isnan(information):
        error, most = float(numbers["mutual_information_stderr"]), float(numbers["log_num_data"])
        # Rounded first: a little below zero is no -0.00.
        told = round(information, 3) + 0.0
        words += f" The code holds {told:.3f} ± {error:.3f} nats of information about which datum it came from"
        words += f" (at most log N = {most:.2f})." if information < 0.9 * most else ", all that N data can show."
    if not clear.all():
        words += f" {(~clear).sum()} of them are {_why_not(numbers)}."
    advice = {
        "good": "",
        "unknown": "Take more data: whether dimensions are active is not known.",
        "doubtful": "Idle dimensions do no harm; if the code should hold more, lower or anneal the KL's weight, "
        "set free bits, or train longer; else take fewer dimensions.",
        "bad": "The decoder ignores the code: anneal the KL's weight, set free bits, weaken the decoder, or lower "
        "beta and sigma.",
    }[level]
    return Verdict(
        diagnostic="Active units",
        level=level,
        value=float(active.sum()),
        unit=f"of {len(active)}",
        threshold=f"Var_x E_q[z_u] > {numbers.attrs['threshold']:g} Var p(z_u) (Burda et al. 2016)",
        words=words,
        advice=advice,
    )


def _clear(table: xr.Dataset) -> np.ndarray:
    """Mark the dimensions more than two standard errors from the threshold, on either side: [U]."""
    limit = table.attrs["threshold"] * np.asarray(_prior_variance(table))
    distance = abs(table["posterior_mean_variance"].to_numpy() - limit)
    return np.asarray(distance > ERRORS * table["posterior_mean_variance_stderr"].to_numpy())


def _prior_variance(table: xr.Dataset) -> xr.DataArray:
    """The variance of the prior by dimension; 1 in a table that was kept before there was one."""
    return table["prior_variance"] if "prior_variance" in table else xr.ones_like(table["posterior_mean_variance"])


def _why_not(table: xr.Dataset) -> str:
    if table["posterior_mean_variance_stderr"].isnull().all():
        return "not known to be so: of so few data a variance has no error"
    return "within two standard errors of the threshold"


def _which(table: xr.Dataset, idle: np.ndarray, count: int) -> str:
    """Name the idle ones of ``count`` dimensions; of several sites as the table numbers them, with their site."""
    if not len(idle) or len(idle) == count:
        return ""
    numbers = table["latent"].to_numpy() if "latent" in table.coords else np.arange(count)
    sites = table["latent_site"].to_numpy() if "latent_site" in table.coords else np.full(count, "z")
    several = len(set(sites)) > 1
    shown = [f"latent {numbers[i]} ({sites[i]})" if several else f"z{numbers[i] + 1}" for i in idle[:8]]
    return f"; idle: {', '.join(shown)}{', ...' if len(idle) > 8 else ''}"
