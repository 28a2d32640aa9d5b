"""Disentanglement of a pair's codes: every metric with its error, its level by chance, and the effect of binning.

Metrics are of the posterior's mean or of its draws (Locatello et al. 2019, https://arxiv.org/abs/1811.12359, show
how far the two lie apart, and that seeds differ more than methods): both are judged, and several runs of a method
at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ppl_vae.arrays import Array
from ppl_vae.checks import positive
from ppl_vae.containers import Data
from ppl_vae.diagnostics.latent_space.disentanglement.activity import active_dimensions
from ppl_vae.diagnostics.latent_space.disentanglement.codes import REPRESENTATIONS, mean_and_sampled_codes
from ppl_vae.diagnostics.latent_space.disentanglement.score_codes import score_codes
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_finite, require_table
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

GOOD, POOR = 0.5, 0.9
#: The one score that has no best value, and that is better the smaller it is.
UNBOUNDED = "gaussian total correlation"


@by_keyword("seed")
def run_disentanglement(
    pairs: PairLike | list[PairLike],
    x: Data,
    factors: Array,
    factor_names: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    representations: Sequence[str] = REPRESENTATIONS,
    bins: int = 20,
    binning: str = "width",
    learner: str = "random-forest",
    votes: int = 6000,
    num_shuffles: int = 3,
    threshold: float = ACTIVE_THRESHOLD,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the metrics of disentanglement of one pair, or of several runs in a list.

    Args:
        pairs: an object with ``.model`` and ``.guide``, a tuple of two programs, or a list of such, one a seed.
        x: [N, *event_shape].
        factors: their ground-truth factors [N, F]; more than 50 values make a factor continuous.
        factor_names: one a column.
        metrics: names of ``METRICS``; all by default.
        representations: "mean" of the posterior, "sample" of it, or both.
        bins: of the histograms; scores that have some are also computed with half and with twice as many.
        binning: "width" or "count": bins of equal width, or of equally many data.
        learner: of DCI, "random-forest" or "gradient-boosting".
        votes: batches of the FactorVAE and beta-VAE scores, training and held out together.
        num_shuffles: how often factors are shuffled for the level by chance.
        threshold: the variance of the mean code, in units of the prior's, up to which a dimension is inactive and
            left out.
        seed: of draws, splits, batches, learners and shuffles.

    Returns:
        A Dataset as of ``score_codes``.

    Raises:
        ModelError: a pair or a setting is refused; it is named.
        DataError: factors do not fit the data, or fewer than 2 data.
    """
    unknown = [name for name in representations if name not in REPRESENTATIONS]
    if unknown or not representations:
        raise ModelError(unknown_name("representation", unknown[0] if unknown else "", REPRESENTATIONS))
    runs = pairs if isinstance(pairs, list) else [pairs]
    if not runs:
        raise ModelError("pairs: expected one pair or a list of them, got none")
    coded = [mean_and_sampled_codes(pair, x, seed=derived_seed(seed, run)) for run, pair in enumerate(runs)]
    widths = {codes["mean"].shape[1] for codes in coded}
    if len(widths) > 1:
        raise ModelError(f"pairs: runs must have equally many latent dimensions, got {sorted(widths)}")
    codes = {name: np.stack([run[name] for run in coded]) for name in representations}
    threshold = positive("threshold", threshold)
    active = np.stack([active_dimensions(run["mean"], threshold * run["prior_variance"]) for run in coded])
    return score_codes(
        codes,
        factors,
        factor_names,
        metrics,
        bins,
        binning,
        learner,
        votes,
        num_shuffles,
        threshold,
        active=active,
        seed=seed,
    )


def check_disentanglement(numbers: xr.Dataset) -> list[Verdict]:
    """Judge every score by how far it goes from its level by chance to 1, one verdict a score.

    The figure is the share of that way which is missing, (1 - score) / (1 - chance): up to 0.5 is "good", over 0.9
    is "bad", which is to say noise. Its error is over runs where there are several, else over samples, and that of
    the level by chance. Total correlation has no best value and is not judged. The first representation is.

    Raises:
        DataError: numbers are not what ``run_disentanglement`` gave, or a score is NaN or infinite.
    """
    variables = ("mean", "score", "stderr", "chance", "chance_spread", "stderr_over_runs", "without_duplicates")
    require_table("numbers", numbers, "run_disentanglement", variables, ("metric", "run", "representation"))
    first = numbers.isel(representation=0)
    first = first.sel(metric=first["metric"] != UNBOUNDED)
    for name in ("mean", "chance"):
        require_finite("numbers", name, first[name])
    return [_verdict(first.sel(metric=name)) for name in first["metric"].values]


def _verdict(numbers: xr.Dataset) -> Verdict:
    name, runs = str(numbers["metric"].item()), numbers.sizes["run"]
    score, chance = numbers["mean"].item(), numbers["chance"].mean().item()
    error = numbers["stderr_over_runs"].item() if runs > 1 else numbers["stderr"].item()
    spread = numbers["chance_spread"].mean().item() / math.sqrt(runs * max(1, numbers.attrs["num_shuffles"]))
    room = 1 - chance
    missing = (1 - score) / room if room > 0 else math.nan
    level = level_of(missing, math.hypot(error, spread * missing) / room if room > 0 else math.nan, GOOD, POOR)
    words = f"{name} is {score:.3f}, where codes that know nothing of the factors get {chance:.3f} by chance."
    dropped = numbers["without_duplicates"].dropna("run")
    if len(dropped):
        words += f" A dimension repeats another; without it the score is {dropped.mean().item():.3f}."
    advice = "Compare several seeds: they differ more than methods do." if level in ("bad", "doubtful") else ""
    threshold = f"missing share of the way from chance to 1, (1 - score) / (1 - chance): {GOOD:g} and {POOR:g}"
    return Verdict(name, level, missing, error / room if room > 0 else math.nan, "", threshold, words, advice)
