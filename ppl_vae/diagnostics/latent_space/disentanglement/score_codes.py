"""The table of every score of codes against factors, with what stands beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ppl_vae.arrays import Array
from ppl_vae.checks import integer, positive
from ppl_vae.diagnostics.latent_space.disentanglement.activity import active_dimensions, duplicates
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.dci import LEARNERS
from ppl_vae.diagnostics.latent_space.disentanglement.factors import factor_levels
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import METRICS
from ppl_vae.diagnostics.latent_space.disentanglement.mutual_information import BINNINGS
from ppl_vae.diagnostics.latent_space.disentanglement.run_table import agreement, over_runs, run_table
from ppl_vae.errors import DataError, ModelError, unknown_name
from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD
from ppl_vae.renamed import by_keyword


@by_keyword("seed", "active")
def score_codes(
    codes: ArrayLike | Mapping[str, ArrayLike],
    factors: Array,
    factor_names: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    bins: int = 20,
    binning: str = "width",
    learner: str = "random-forest",
    votes: int = 6000,
    num_shuffles: int = 3,
    threshold: float = ACTIVE_THRESHOLD,
    *,
    active: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the metrics of codes that were made elsewhere; arguments as of ``run_disentanglement``.

    Args:
        codes: [N, L], or those of several runs [R, N, L], or either by the name of a representation. The threshold
            of activity holds for codes in units of a prior of variance 1.
        factors: [N, F].
        factor_names: one a column.
        metrics: names of ``METRICS``.
        bins: of the histograms.
        binning: "width" or "count".
        learner: of DCI.
        votes: of the FactorVAE and beta-VAE scores.
        num_shuffles: for the level by chance.
        threshold: the variance at or below which a dimension is inactive.
        active: which dimensions are active [R, L], where that is known from elsewhere.
        seed: of splits, batches, learners and shuffles.

    Returns:
        Over "representation", "run" and "metric": ``score``; ``stderr`` over samples
        (``chance.stderr_over_samples``); ``chance``, the mean of the same estimator on shuffled factors, and
        ``chance_spread``, the standard deviation of one such score; ``without_duplicates``, the score without
        dimensions that repeat another (NaN where none does). Over "representation" and "metric": ``mean`` and
        ``stderr_over_runs`` (NaN for one run). ``by_bins``: the scores of histograms with other numbers of bins,
        each with ``chance_by_bins``. ``mutual_information`` over "latent" and "factor", nats. Over "run" and
        "latent": ``active``, ``variance``, ``duplicate_of`` (-1: of none). ``udr`` over "run", with ``udr_mean``,
        ``udr_stderr``, ``udr_chance``: NaN for one run.

    Raises:
        ModelError: an unknown metric, binning or learner, or a number out of range.
        DataError: codes and factors do not fit, or are not finite.
    """
    names = list(METRICS) if metrics is None else list(metrics)
    for name, known, kind in (
        *((name, METRICS, "metric") for name in names),
        (binning, BINNINGS, "binning"),
        (learner, LEARNERS, "learner"),
    ):
        if name not in known:
            raise ModelError(unknown_name(kind, name, known))
    bins, votes = integer("bins", bins, least=2), integer("votes", votes, least=30)
    num_shuffles = integer("num_shuffles", num_shuffles)
    levels = factor_levels(factors, tuple(factor_names), bins)
    by_name = _checked(codes, len(levels.levels))
    first = next(iter(by_name.values()))
    if active is None:
        active = np.stack([active_dimensions(run, positive("threshold", threshold)) for run in first])
    given = Coded(first[0], levels, bins, binning, votes, learner, seed)
    of = np.stack([duplicates(run, on) for run, on in zip(first, active, strict=True)])
    parts: list[xr.Dataset] = []
    for runs in by_name.values():
        judged = [
            run_table(replace(given, codes=run), on, repeats, names, num_shuffles)
            for run, on, repeats in zip(runs, active, of, strict=True)
        ]
        parts.append(xr.concat(judged, "run"))
    table: xr.Dataset = xr.concat(parts, xr.DataArray(list(by_name), dims="representation", name="representation"))
    dims = ("run", "latent")
    table["active"], table["duplicate_of"] = (dims, active), (dims, of)
    table["variance"] = (dims, first.var(1, ddof=1))
    table = table.merge(over_runs(table)).merge(agreement(first, active, seed))
    return table.assign_attrs(
        bins=bins, binning=binning, learner=learner, votes=votes, num_shuffles=num_shuffles, threshold=threshold,
        num_data=len(levels.levels), seed=seed, units="scores are pure numbers, total correlation nats",
    )  # fmt: skip


def _checked(codes: ArrayLike | Mapping[str, ArrayLike], num_data: int) -> dict[str, NDArray[np.float64]]:
    given = codes if isinstance(codes, Mapping) else {"given": codes}
    by_name = {}
    for name, values in given.items():
        array = np.asarray(values, dtype=np.float64)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[1] != num_data or num_data < 2:
            raise DataError(
                f"codes {name!r}: expected [N, L] or [R, N, L] for the {num_data} rows of factors, at least 2, got "
                f"shape {list(np.shape(values))}"
            )
        if not np.isfinite(array).all():
            raise DataError(f"codes {name!r}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
        by_name[name] = array
    if len({array.shape for array in by_name.values()}) != 1:
        raise DataError(f"codes: expected one shape, got {[list(array.shape) for array in by_name.values()]}")
    return by_name
