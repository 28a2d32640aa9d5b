r"""Expected coverage: how often the guide's credible regions hold the truth, against their nominal level.

The credibility of a simulated z_0 is the smallest level a whose region holds it. It is uniform on [0, 1] if q is
the posterior, and the expected coverage of the regions at level a is P(credibility <= a). Three kinds of region:

    central          the interval between the (1 - a)/2 and (1 + a)/2 quantiles of one latent dimension: |2 pit - 1|
    highest density  the values with log q(z|x) above a level: the share of draws with a higher one
    TARP             the ball around a reference point that depends on x: the share of draws nearer to it

The first is calibration by dimension, folded; the second is of the joint q(z|x) (Hermans et al. 2022); neither sees
a guide that ignores x and returns the prior, the third does (``tarp``; Lemos et al. 2023).

Hermans et al. 2022, https://arxiv.org/abs/2110.06581; Lemos et al. 2023, https://arxiv.org/abs/2302.03026.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.ranks import rank_of_first
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, as_simulated
from ppl_vae.diagnostics.calibration.tarp import area_to_curve, tarp_credibility
from ppl_vae.diagnostics.calibration.uniformity import ecdf, ecdf_bands, uniformity_p_value
from ppl_vae.diagnostics.verdict import Level, Verdict, require_numbers, require_table
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

# Ties are broken from a stream of their own.
TIES_STREAM = 22
NUM_LEVELS = 100
BAND_LEVEL = 0.95
DOUBTFUL, BAD = 0.05, 0.01
# The level whose coverage stands in the words, as most papers report it.
REPORTED = 0.9
HIGHEST_DENSITY, TARP = "highest density", "TARP"
# How far the central intervals of a guide half as wide as the posterior are from their level at most: twice the
# 0.16 of one tail. A band that is wider, or credibilities among fewer draws than this, would let even that pass.
HALF_AS_WIDE, LEAST_DRAWS = 0.32, 9


@renamed(num_draws="num_samples")
@by_keyword("seed")
def run_coverage(
    pair: PairLike | SimulatedPosteriors,
    x: Data | tuple[int, ...] | None = None,
    num_simulations: int = 1000,
    num_samples: int = 99,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Measure the expected coverage of the guide's credible regions at levels 0.01, ..., 0.99.

    Args:
        pair: an object with ``.model`` and ``.guide``, a tuple of the two programs, or what ``simulate_posteriors``
            returned; the next three arguments are then those of that run.
        x: data [N, *event_shape] for their shape, dtype and missing coordinates, or the event shape as a tuple.
            With covariates a tuple (x, c1, ..., cm) or a dict of named arrays: x is simulated given those.
        num_simulations: S.
        num_samples: L draws from the guide for each.
        seed: of simulations, draws and tie-breaking; torch's global generators are left as they were.

    Returns:
        A Dataset with ``credibility`` [simulation, region]; ``coverage`` and ``coverage_stderr`` [region, nominal];
        ``p_value`` [region] of credibilities against uniform; ``atc``, the signed area of TARP's curve, and
        ``atc_stderr``; ``band_lower`` and ``band_upper`` [nominal], which hold all curves with probability 0.95 if
        the guide is the posterior. Regions are named by their latent dimension, "highest density" (left out where
        the guide has no density at simulated values; an attribute says why) and "TARP".

    Raises:
        ModelError: the pair is refused, or its model cannot be drawn from; the site is named.
        DataError: x is empty, or holds values that the model could never draw.
    """
    posteriors = as_simulated(pair, x, num_simulations, num_samples, seed)
    generator = torch.Generator().manual_seed(derived_seed(seed, TIES_STREAM))
    credibility = _central(posteriors, generator)
    if posteriors.log_guide is not None:
        credibility[HIGHEST_DENSITY] = rank_of_first(-posteriors.log_guide, generator)[1]
    credibility[TARP] = tarp_credibility(posteriors, generator)
    attributes = {
        "num_draws": posteriors.num_draws,
        "seed": seed,
        "without_highest_density": posteriors.why_no_density,
    }
    return _table(credibility, attributes)


def _central(posteriors: SimulatedPosteriors, generator: torch.Generator) -> dict[str, Tensor]:
    dimensions = posteriors.dimensions
    return {
        name: (2 * rank_of_first(dimensions[..., index], generator)[1] - 1).abs()
        for index, name in enumerate(posteriors.dimension_names)
    }


def _table(credibility: dict[str, Tensor], attributes: dict[str, object]) -> xr.Dataset:
    names, columns = list(credibility), np.stack([c.numpy() for c in credibility.values()])
    count, size = columns.shape
    bands = ecdf_bands(size, NUM_LEVELS, 1 - (1 - BAND_LEVEL) / count)
    coverage = np.stack([ecdf(column, NUM_LEVELS) for column in columns])
    atc, atc_stderr = area_to_curve(credibility[TARP])
    kinds = [name if name in (HIGHEST_DENSITY, TARP) else "central" for name in names]
    return xr.Dataset(
        {
            "credibility": (("simulation", "region"), columns.T),
            "coverage": (("region", "nominal"), coverage),
            "coverage_stderr": (("region", "nominal"), np.sqrt(coverage * (1 - coverage) / size)),
            "p_value": ("region", [uniformity_p_value(column, NUM_LEVELS) for column in columns]),
            "atc": atc,
            "atc_stderr": atc_stderr,
            "band_lower": ("nominal", bands.lower),
            "band_upper": ("nominal", bands.upper),
        },
        {"region": names, "kind": ("region", kinds), "nominal": bands.fraction},
        attributes | {"band_level": BAND_LEVEL},
    )


@renamed(coverage="numbers")
def check_coverage(numbers: xr.Dataset) -> Verdict:
    """Judge all regions of ``run_coverage`` in one verdict.

    The figure is the coverage of the regions of 90%: of highest density, or of TARP where there are none. The level
    of the verdict comes from all regions at all levels. Where nothing strays, but so few data were simulated that a
    guide half as wide as the posterior could pass as well, the level is "unknown".

    Raises:
        DataError: the numbers are none of ``run_coverage``, or some are NaN or infinite.
    """
    columns = ("credibility", "coverage", "coverage_stderr", "p_value", "atc", "band_lower", "band_upper")
    require_table("coverage", numbers, "run_coverage", columns, ("region", "simulation"))
    require_numbers("coverage", numbers)
    count = numbers.sizes["region"]
    p_values = np.minimum(1.0, numbers["p_value"].to_numpy() * count)
    level: Level = "good" if p_values.min() > DOUBTFUL else "doubtful" if p_values.min() > BAD else "bad"
    joint = HIGHEST_DENSITY if HIGHEST_DENSITY in numbers["region"] else TARP
    reported = numbers.sel(region=joint).sel(nominal=REPORTED, method="nearest")
    words, advice = _words(numbers, p_values)
    if level == "good" and _blind(numbers):
        level, advice = "unknown", "Simulate more data, with more draws."
        words = f"{words} A guide half as wide as the posterior could pass as well."
    return Verdict(
        diagnostic="Expected coverage",
        level=level,
        value=float(reported["coverage"]),
        stderr=float(reported["coverage_stderr"]),
        unit=f"of the truths in 90% regions ({joint})",
        threshold=f"coverage = level: Bonferroni p > {DOUBTFUL:g} good, p <= {BAD:g} bad, over {count} regions "
        "(Hermans et al. 2022; Lemos et al. 2023; bands of Säilynoja et al. 2022)",
        words=words,
        advice=advice,
    )


def _blind(coverage: xr.Dataset) -> bool:
    """Tell whether even a guide half as wide as the posterior could stay inside the band."""
    wide = float((coverage["band_upper"] - coverage["band_lower"]).max()) / 2
    return wide > HALF_AS_WIDE or coverage.attrs["num_draws"] < LEAST_DRAWS


def _words(coverage: xr.Dataset, p_values: NDArray[np.float64]) -> tuple[str, str]:
    atc, error = float(coverage["atc"]), float(coverage["atc_stderr"])
    area = f"ATC {atc:+.3f} ± {error:.3f}."
    failing = p_values <= DOUBTFUL
    if not failing.any():
        size = coverage.sizes["simulation"]
        return (
            f"All {len(p_values)} regions cover as they say, as far as {size} simulated data can tell. {area}",
            "",
        )
    worst = coverage.isel(region=int(p_values.argmin()))
    at = worst.sel(nominal=REPORTED, method="nearest")
    cover = float(at["coverage"])
    which = f"{failing.sum()} of {len(p_values)} regions fail, most of all {_region(worst)}"
    figure = f"of the 90% regions {100 * cover:.1f} ± {100 * float(at['coverage_stderr']):.1f}% hold the truth"
    verdict, advice = _direction(worst["credibility"].to_numpy(), set(coverage["kind"].to_numpy()[failing]))
    return f"{which}: {figure}; {verdict}. {area}", advice


def _region(region: xr.Dataset) -> str:
    name, kind = str(region["region"].item()), str(region["kind"].item())
    return f"the central intervals of {name}" if kind == "central" else name


def _direction(credibility: NDArray[np.float64], kinds: set[str]) -> tuple[str, str]:
    """Say whether truths lie farther out than they should, in words that leave open a shift or a narrow guide."""
    if kinds == {TARP}:
        return (
            "every other region passes, but the guide does not follow x as the posterior does",
            "See check_calibration: log p(x|z) tells whether the guide is collapsed.",
        )
    if "central" not in kinds:
        return (
            "every dimension passes by itself, the guide's joint density does not",
            "Use a full-covariance or flow posterior.",
        )
    score = math.sqrt(12 * len(credibility)) * (credibility.mean() - 0.5)
    if abs(score) < 3:
        return "regions cover too much at some levels and too little at others", "Look at plot_coverage."
    if score > 0:
        return (
            "regions cover too little: the guide is too narrow or off centre",
            "The ranks of check_calibration tell which of the two.",
        )
    return "regions cover too much: the guide is too wide", "Train the guide longer, or give it more capacity."
