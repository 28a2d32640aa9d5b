"""The figures of every topic, each with its caption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.topics.topic import Diagnosed
from ppl_vae.errors import DataError
from ppl_vae.plots import (
    plot_calibration,
    plot_coverage,
    plot_density_ratio,
    plot_gaps,
    plot_khat,
    plot_latent_kl,
    plot_local_c2st,
    plot_predictive,
    plot_reference,
    plot_worst_data,
    plot_worst_rows,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Latent dimensions of a pair plot.
MOST_LATENT = 4

Drawn = Iterator[tuple["Figure", str]]


def importance(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw k-hat of every datum, and the data where it is largest."""
    yield (
        plot_khat(table),
        f"k-hat of {table.sizes['datum']} data from {table.attrs['num_samples']} draws each. Dashed lines are 0.5, "
        f"below which the weights have a variance, and the threshold {table.attrs['threshold']:.2f}.",
    )
    try:
        if diagnosis.x.dim() == 2:
            worst = plot_worst_rows(diagnosis.rows, table, diagnosis.column_names)
            caption = (
                "The rows with the largest k-hat, worst first. The shade of a cell is its distance from the mean "
                f"of its column over {len(diagnosis.x)} data in standard deviations: orange above, violet below."
            )
        else:
            worst = plot_worst_data(diagnosis.x, table)
            caption = "The data with the largest k-hat, worst first, each with its k-hat."
    except DataError:
        return
    yield worst, caption


def calibration(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the ranks of simulated truths as ECDF differences."""
    count = table.sizes["simulation"]
    yield (
        plot_calibration(table),
        f"Ranks of {count} simulated truths among {diagnosis.effort.num_draws} draws from q, less uniform. The "
        "band holds all curves with probability 0.95 if q is the posterior.",
    )


def coverage(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw expected coverage against the nominal level."""
    yield (
        plot_coverage(table),
        f"Share of {table.sizes['simulation']} simulated truths inside the credible regions of q. The band "
        "holds all curves with probability 0.95 if q is the posterior.",
    )


def local_c2st(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the statistic of the local classifier test at every datum."""
    power = {name: float(table.attrs[f"power_{name}"]) for name in ("narrow", "shifted")}
    yield (
        plot_local_c2st(table),
        f"The mean square t(x) of a classifier at {table.sizes['datum']} data, over its middle 90% where nothing "
        f"is wrong. Such a classifier finds a guide that is a fifth too narrow at {power['narrow']:.0%} of data, "
        f"and one that is half a standard deviation off at {power['shifted']:.0%}.",
    )


def posterior_calibration(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the weighted ranks around one datum as ECDF differences."""
    yield (
        plot_calibration(table),
        f"Ranks of {table.sizes['simulation']} draws from q at datum {table.attrs['around']}, whose k-hat is the "
        "largest, among weighted draws from q at data simulated from them, less uniform. The band holds all curves "
        f"with probability 0.95 if q is the posterior there. A rank rests on {float(table['ess'].median()):.0f} "
        "effective draws in the median.",
    )


def collapse(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the KL of every latent dimension; nothing where single dimensions have none."""
    if bool(table["kl"].isnull().any()):
        return
    yield (
        plot_latent_kl({"q(z|x)": table["kl"].to_numpy()}),
        f"KL of q to the prior by latent dimension, in falling order, a mean over {len(diagnosis.x)} data. "
        "Counted here are those whose KL is above the dashed line, in the verdict those whose mean moves with x.",
    )


def density_ratio(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw codes of data and draws of the prior in two dimensions."""
    yield (
        plot_density_ratio(table),
        f"{table.sizes['draw']} draws of q(z|x) and as many of the prior, in the first latent dimensions, coloured "
        "by the log density ratio that a classifier gives each without having seen it. Dark crosses lie in holes.",
    )


def predictive(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the statistics of replicated data sets beside those of the data."""
    yield (
        plot_predictive(table),
        f"Statistics of {table.sizes['draw']} replicated data sets of {len(diagnosis.x)} data each; the line is "
        "the real data's.",
    )


def gaps(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the two parts of the gap."""
    yield (
        plot_gaps(table),
        f"The gap between log p(x) and the ELBO of {table.sizes['datum']} test data. Whiskers are two "
        "standard errors.",
    )


def reference(table: xr.Dataset, diagnosis: Diagnosed) -> Drawn:
    """Draw the pair plot of the datum that tells guide and reference apart best."""
    if "global_c2st" in table:
        whole = [str(name) for name in table if f"guide_{name}" in table and "datum" not in table[name].dims]
        apart = distances(table[[*whole, *(f"guide_{name}" for name in whole)]])
        shown = sorted(np.argsort(-apart, kind="stable")[:MOST_LATENT].tolist())
        yield (
            plot_reference(table, None, shown),
            f"Draws of HMC over all sites and of q(g): {len(shown)} of {len(apart)} coordinates of the global "
            f"sites, those that differ most (C2ST {float(table['global_c2st']):.2f}).",
        )
    if "c2st" not in table:
        return
    c2st = table["c2st"].fillna(-1.0).to_numpy()
    worst = int(c2st.argmax())
    apart = distances(table[[name for name in table if "datum" in table[name].dims]].isel(datum=worst))
    shown = sorted(np.argsort(-apart, kind="stable")[:MOST_LATENT].tolist())
    choice = (
        f" The {len(shown)} of {len(apart)} latent dimensions that differ most." if len(shown) < len(apart) else ""
    )
    yield (
        plot_reference(table, worst, shown),
        f"Draws of HMC and of q for the datum, of {table.sizes['datum']}, that tells them apart best "
        f"(C2ST {c2st[worst]:.2f}).{choice}",
    )


def distances(draws: xr.Dataset) -> NDArray[np.float64]:
    """Measure how far q is from HMC in every latent dimension of all sites, in means and in log scales [U]."""
    sites = [str(name) for name in draws.data_vars if f"guide_{name}" in draws]
    apart = []
    for site in sites:
        hmc, guide = draws[site].to_numpy(), draws[f"guide_{site}"].to_numpy()
        hmc, guide = hmc.reshape(hmc.shape[0] * hmc.shape[1], -1), guide.reshape(len(guide), -1)
        scale = hmc.std(0)
        # A guide that is a point is infinitely far.
        with np.errstate(divide="ignore"):
            apart.append(np.abs(guide.mean(0) - hmc.mean(0)) / scale + np.abs(np.log(guide.std(0) / scale)))
    return np.concatenate(apart)
