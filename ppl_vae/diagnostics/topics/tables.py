"""The tables of topics: the numbers behind a figure that a paper would print."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ppl_vae.diagnostics.evidence.evidence import MEANS
from ppl_vae.diagnostics.importance.khat_groups import khat_table
from ppl_vae.diagnostics.topics.topic import Diagnosed, Table

# More classes than these would bury the table.
MOST_CLASSES, MOST_DATA = 20, 20


def _margin(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"


def importance(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate k-hat and effective sample size, over all data, by class and by covariate."""
    groups = khat_table(table, diagnosis.y, diagnosis.covariates).reset_index()
    groups = groups[groups["by"] != "elbo decile"].head(1 + MOST_CLASSES)
    rows = [
        [
            "all" if row["by"] == "all" else f"{row['by']} {row['group']}",
            f"{row['data']:.0f}",
            f"{row['khat_median']:.2f}",
            f"{row['khat_max']:.2f}",
            f"{row['above']:.0%}",
            f"{row['ess_median']:.0f}",
            f"{row['elbo']:.2f}",
        ]
        for row in groups.to_dict("records")
    ]
    caption = f"k-hat and effective sample size of {table.attrs['num_samples']} draws per datum; ELBO in nats."
    columns = ["", "data", "median k-hat", "largest", "above the threshold", "median ESS", "mean ELBO"]
    return Table(caption, columns, rows)


def evidence(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate the estimates of log p(x), over all data and over those that were annealed."""
    subsets = {"all": table, "annealed": table.where(table["annealed"].notnull(), drop=True)}
    rows = [
        [name, str(of.sizes["datum"]), *(_over_data(of[column]) for column in MEANS)]
        for name, of in subsets.items()
        if of.sizes["datum"]
    ]
    caption = "Means over data with their standard errors, nats per datum; the rows differ in which data are meant."
    return Table(caption, ["data", "number", *MEANS.values()], rows)


def global_importance(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate what the weights of the global sites say of the whole data set."""
    rows = [
        ["log p of all data, nats", _margin(float(table["log_evidence"]), float(table["log_evidence_stderr"]))],
        ["its bound, the mean of log W", _margin(float(table["elbo"]), float(table["elbo_stderr"]))],
        ["draws, and what they are worth", f"{table.sizes['global_draw']}, {float(table['ess']):.0f}"],
        ["noise of the local draws, nats", f"{float(table['local_noise']):.2g}"],
    ]
    return Table("The weights W of draws of the global sites, of the data set as a whole.", ["", "figure"], rows)


def _over_data(values: xr.DataArray) -> str:
    known = values.dropna("datum")
    if known.size < max(2, values.size):
        return "not run on all"
    return f"{float(known.mean()):.2f} ± {float(known.std(ddof=1)) / math.sqrt(known.size):.2f}"


def local_c2st(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate the data whose p-values are smallest, and below them what such a test finds."""
    p_value = table["p_value"].to_numpy()
    shown = np.argsort(p_value, kind="stable")[:MOST_DATA]
    named = table["datum"].to_numpy()
    rows = [
        [
            str(named[i]),
            f"{float(table['statistic'][i]):.3g}",
            f"{p_value[i]:.3f}",
            "yes" if table["found"][i] else "",
        ]
        for i in shown
    ]
    caption = (
        f"The {len(shown)} of {len(p_value)} data with the smallest p-values. Power of the classifier with "
        f"{table.attrs['num_simulations']} simulations, at one datum of a linear-Gaussian model: a guide of 0.8 of "
        f"the posterior's standard deviation is found in {table.attrs['power_narrow']:.0%}, one half a standard "
        f"deviation beside it in {table.attrs['power_shifted']:.0%}."
    )
    return Table(caption, ["datum", "t(x)", "p-value", "found"], rows)


def gaps(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate log p(x), both gaps and the ELBO by split."""
    names = {
        "log_evidence": "log p(x)",
        "approximation_gap": "approximation gap",
        "amortisation_gap": "amortisation gap",
        "elbo": "ELBO",
    }
    rows = [
        [str(split), *(_margin(float(of[f"mean_{name}"]), float(of[f"mean_{name}_stderr"])) for name in names)]
        for split, of in ((split, table.sel(split=split)) for split in table["split"].to_numpy())
    ]
    caption = "Means and standard errors over data and draws, nats per datum: log p(x) less both gaps is the ELBO."
    return Table(caption, ["split", *names.values()], rows)


def reference(table: xr.Dataset, diagnosis: Diagnosed) -> Table:
    """Tabulate convergence and the two-sample test of the data that tell guide and reference apart best."""
    shown = np.argsort(-table["c2st"].fillna(-1.0).to_numpy(), kind="stable")[:MOST_DATA]
    rows = [
        [
            str(name),
            f"{float(of['rhat']):.3f}",
            f"{float(of['ess']):.0f}",
            str(int(of["divergences"])),
            _margin(float(of["c2st"]), float(of["c2st_stderr"])),
        ]
        for name, of in ((table["datum"].to_numpy()[i], table.isel(datum=i)) for i in shown)
    ]
    part = f"The {len(shown)} of {table.sizes['datum']} data that differ most. " * (
        len(shown) < table.sizes["datum"]
    )
    caption = f"{part}R-hat is the largest, ESS the smallest over latent dimensions (Vehtari et al. 2021)."
    return Table(caption, ["datum", "R-hat", "ESS", "divergences", "C2ST"], rows)
