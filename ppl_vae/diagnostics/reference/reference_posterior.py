r"""The reference posterior of a few data: NUTS on p(z | x_n) with the decoder fixed, and the guide's distance.

The first chain starts at a draw of the guide, the others at draws of the prior, so that a mode that the guide does
not know can be found; chains that all start on one side of a deep valley will still miss the other. R-hat and the
effective sample size are ArviZ's (Vehtari et al. 2021, https://arxiv.org/abs/1903.08008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.diagnostics.arviz.container import ess, rhat
from ppl_vae.diagnostics.given import admitted, named
from ppl_vae.diagnostics.reference import distances
from ppl_vae.diagnostics.reference.nuts import DatumPosterior, frozen
from ppl_vae.diagnostics.verdict import Level, Verdict, level_of, require_finite, require_table
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed

REFERENCE_STREAM = 41
# What a chain must reach for its draws to stand for the posterior (Vehtari et al. 2021).
RHAT, ESS = 1.01, 400
# The best accuracy on two Gaussians whose means are half and one posterior standard deviation apart.
GOOD, BAD = 0.6, 0.69
# Draws of each set that the distances are taken from.
MOST_COMPARED = 1000
DISTANCES = {
    "mean_difference": "largest difference of means, in posterior standard deviations",
    "covariance_difference": "of the covariances, Frobenius norm in whitened coordinates; NaN for too few draws",
    "gaussian_w2": "2-Wasserstein distance of the Gaussians with these moments",
    "sliced_wasserstein": "sliced 2-Wasserstein distance",
    "c2st": "cross-validated accuracy of a classifier, 0.5 where they cannot be told apart",
    "c2st_stderr": "of c2st",
    "mmd": "squared maximum mean discrepancy, U-statistic",
    "mmd_stderr": "of mmd if there were no difference",
}
# Names that a site may not have beside them.
OWN = {"chain", "draw", "datum", "guide_draw", "rhat", "ess", "divergences", *DISTANCES}


def run_reference(
    pair: PairLike,
    x: ArrayLike | Tensor,
    num_samples: int = 1000,
    warmup: int = 500,
    num_chains: int = 4,
    seed: int = 0,
) -> xr.Dataset:
    """Draw from p(z|x) of a FEW data by NUTS and hold the guide's draws against it.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; nothing in it is trained.
        x: [N, *event_shape]; seconds to minutes per datum.
        num_samples: draws per chain after the warm-up.
        warmup: steps in which step size and mass matrix are adapted.
        num_chains: at least 2, one after the other.
        seed: torch's global generators are left as they were.

    Returns:
        For every latent site its draws, named as the site: [datum, chain, draw, latent], and as many of the guide,
        named "guide_SITE": [datum, guide_draw, latent]. Over "datum": ``rhat`` (the largest) and ``ess`` (the
        smallest) over latent dimensions, ``divergences``, and the distances between the two sets of draws, taken
        from as many draws of the chains as are worth their effective sample size.

    Raises:
        ModelError: a latent site is discrete or has the name of a number of the table, or the pair or a setting is
            refused; it is named.
        DataError: the data are empty, or the likelihood has no density for some value.
    """
    num_samples, warmup = integer("num_samples", num_samples, least=20), integer("warmup", warmup, least=20)
    num_chains, seed = integer("num_chains", num_chains, least=2), integer("seed", seed, least=None)
    given = admitted(pair, x)
    rows = []
    for index, datum in enumerate(given.split(1)):
        stream, (model, guide) = derived_seed(seed, REFERENCE_STREAM, index), given.programs
        with evaluating(model, guide, seed=stream, device=given.x.device), frozen(model, guide):
            posterior = DatumPosterior(datum.model, datum.guide, datum.x)
            draws, divergences = posterior.chains(num_samples, warmup, num_chains)
            rows.append(_dataset(draws, posterior.of_guide(num_samples * num_chains), divergences))
    table = named(xr.concat(rows, "datum"), given.labels)
    settings = {"num_samples": num_samples, "warmup": warmup, "num_chains": num_chains, "seed": seed}
    return table.assign_attrs(settings)


def _dataset(posterior: dict[str, Any], guided: dict[str, Any], divergences: int) -> xr.Dataset:
    """Collect one datum's draws [chain, draw, *event], the guide's [draw, *event], and the distances."""
    variables: dict[str, Any] = {}
    for name, draws in posterior.items():
        if name in OWN or name.startswith("guide_"):
            raise ModelError(f"site {name!r}: the table keeps that name for a number of its own; rename the site")
        event = _event_dims(name, draws.ndim - 2, posterior)
        variables[name] = (("chain", "draw", *event), draws)
        variables[f"guide_{name}"] = (("guide_draw", *event), guided[name])
    flat = _flat(posterior, 2)
    worst, least = _convergence(flat)
    variables |= {"rhat": ((), worst), "ess": ((), least), "divergences": ((), divergences)}
    found = _distances(_flat(guided, 1), flat, least)
    variables |= {name: ((), value, {"description": DISTANCES[name]}) for name, value in found.items()}
    return xr.Dataset(variables)


def _event_dims(name: str, dims: int, sites: Mapping[str, Any]) -> list[str]:
    stem = "latent" if len(sites) == 1 else f"{name}_latent"
    while stem in sites:
        stem += "_dim"
    return [stem] if dims == 1 else [f"{stem}_{index}" for index in range(dims)]


def _flat(draws: Mapping[str, Any], batch_dims: int) -> NDArray[np.float64]:
    """Join the coordinates of all sites side by side: [*batch, U]."""
    return np.concatenate([each.reshape(*each.shape[:batch_dims], -1) for each in draws.values()], -1)


def _convergence(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The largest R-hat and the smallest effective sample size over coordinates of draws [chain, draw, U]."""
    # Chains that have not moved have no variance to divide by: infinite or NaN, which is not settled.
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(rhat(draws).max()), float(ess(draws).min())


def _distances(guided: NDArray[np.float64], chains: NDArray[np.float64], worth: float) -> dict[str, float]:
    """Compute distances from nearly independent draws: the chains are thinned to their effective sample size."""
    pooled = chains.reshape(-1, chains.shape[-1])
    count = int(np.clip(worth if math.isfinite(worth) else 0, 20, min(MOST_COMPARED, len(pooled))))
    thinned = pooled[np.linspace(0, len(pooled) - 1, count).round().astype(int)]
    a = guided[:count]
    c2st, c2st_error = distances.classifier_accuracy(a, thinned)
    mmd, mmd_error = distances.kernel_discrepancy(a, thinned)
    moments: dict[str, Callable[[Any, Any], float]] = {
        "mean_difference": distances.mean_difference,
        "covariance_difference": distances.covariance_difference,
        "gaussian_w2": distances.wasserstein_of_moments,
        "sliced_wasserstein": distances.sliced_wasserstein,
    }
    # Moments of all draws are better known than those of the thinned ones.
    found = {name: distance(guided, pooled) for name, distance in moments.items()}
    return found | {"c2st": c2st, "c2st_stderr": c2st_error, "mmd": mmd, "mmd_stderr": mmd_error}


def check_reference(table: xr.Dataset) -> Verdict:
    """Judge whether the guide can be told from the reference posterior.

    Args:
        table: of ``run_reference``.

    Returns:
        The mean C2ST over the data whose chains have settled: R-hat below 1.01 and more than 400 effective
        draws. "good" if it is below 0.6 by two standard errors, "bad" if it is above 0.69 by as much;
        "unknown" where no datum's chains have settled, or the error reaches across 0.6.

    Raises:
        DataError: the table is another, or the distance of settled chains is NaN or infinite.
    """
    require_table("table", table, "run_reference", ("c2st", "c2st_stderr", "rhat", "ess"), ("datum",))
    settled = ((table["rhat"] < RHAT) & (table["ess"] > ESS)).to_numpy()
    missing = f" On {(~settled).sum()} of {len(settled)} data the chains have not settled"
    unsettled = "" if settled.all() else missing
    advice = "More warm-up and draws; if R-hat stays, the posterior has several modes: look at the pair plot."
    threshold = "C2ST (Lopez-Paz & Oquab 2017) of 0.6 and 0.69, as of means 0.5 and 1 posterior sd apart"
    if not settled.any():
        worst = float(table["rhat"].max())
        least = float(table["ess"].min())
        words = f"{unsettled.strip()} (R-hat up to {worst:.2f}, {least:.0f} effective draws or more): no reference."
        return Verdict("C2ST against NUTS", "unknown", math.nan, threshold=threshold, words=words, advice=advice)
    kept = table.isel(datum=np.flatnonzero(settled))
    require_finite("table", "c2st", kept["c2st"])
    value = float(kept["c2st"].mean())
    error = float(np.linalg.norm(kept["c2st_stderr"])) / kept.sizes["datum"]
    level = level_of(value, error, GOOD, BAD)
    words = _described(kept, level) + (f"{unsettled}; they are left out." if unsettled else "")
    if level == "unknown":
        advice = "Take more draws: the error is too wide for a verdict."
        return Verdict("C2ST against NUTS", level, value, error, "", threshold, words, advice)
    better = "Look at the pair plot of the worst datum; then at the gaps, which tell the family from the encoder."
    return Verdict(
        "C2ST against NUTS", level, value, error, "", threshold, words, "" if level == "good" else better
    )


def _described(kept: xr.Dataset, level: Level) -> str:
    means, covariances = (float(kept[f"{name}_difference"].mean()) for name in ("mean", "covariance"))
    verbs: dict[Level, str] = {"good": "can hardly be told", "unknown": "may or may not be told"}
    verb = verbs.get(level, "can be told")
    diverged = int(kept["divergences"].sum())
    said = (
        f"On {_data(kept.sizes['datum'])} the guide's draws {verb} from the posterior's: means differ by up to "
        f"{means:.2f} sd on average"
    )
    said += "." if math.isnan(covariances) else f", covariances by {covariances:.2f}."
    return said + (f" {diverged} transitions diverged." if diverged else "")


def _data(count: int) -> str:
    return "1 datum" if count == 1 else f"{count} data"
