r"""Multiple imputation: draws of missing values given the seen ones, x_mis ~ p(x_mis | x_obs).

    z ~ p(z | x_obs)  by the ladder of ``infer``,    x_mis ~ p(x_mis | z)

The likelihood's missing coordinates are independent of the seen ones given z; one where they are not, as a full
covariance matrix, is refused. NaN marks a missing entry. A row's k-hat and rung say whether its imputations can be
trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.arviz.container import ArvizData
from ppl_vae.diagnostics.infer.infer import infer
from ppl_vae.diagnostics.infer.missing_given_latents import require_independent
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.annealed import chains_per_pass
from ppl_vae.inference.pair.admission import admitted, together
from ppl_vae.inference.pair.covariates import Arguments, at_covariates
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.indices import with_indices
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.stream import in_one_piece
from ppl_vae.randomness import derived_seed

STREAM = 62
PASS = 1 << 26


def impute(
    pair: PairLike,
    x: Data,
    imputations: int = 100,
    y: Array | None = None,
    *,
    seed: int = 0,
    **ladder: Any,
) -> ArvizData:
    """Draw the missing entries of every row given those that are seen.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs, whose likelihood takes NaN.
        x: [N, *event_shape], NaN where an entry is missing; with covariates a tuple (x, c1, ..., cm) or a dict.
        imputations: completed data sets, at least 20.
        y: labels [N], of a pair that takes them.
        seed: of all draws.
        **ladder: further arguments of ``infer``: thresholds, deadline, memory_limit, folder, progress.

    Returns:
        An ArviZ object: "posterior_predictive" with ``x`` [chain, draw, datum, *event], complete, seen entries as
        they were, and missing ones of data that were not reached before a deadline; "posterior" and "sample_stats"
        as of ``infer``; "observed_data" with x.

    Raises:
        DataError: x is empty, or no entry is missing.
        ModelError: the pair is refused, or its likelihood draws no data like x; or the model observes something
            that is made of x, such as (x - mean) / sd; or seen and missing entries depend on each other given z.
    """
    integer("imputations", imputations, least=20)
    x = in_one_piece(as_pair(pair), x)
    labels = Arguments.of(as_pair(pair)).labels(x)
    given, batch = admitted(pair, x, y)
    data = batch[0]
    missing = data.isnan()
    if not missing.any():
        raise DataError("x: no entry is missing (NaN), so that there is nothing to impute")
    result = infer(given, together(batch, labels), imputations, seed=seed, **ladder)
    groups = container.groups_of(result)
    posterior = groups["posterior"]
    values = {str(name): posterior[name].to_numpy()[0] for name in posterior.data_vars}
    completed = _completed(given, batch, values, derived_seed(seed, STREAM))
    event = [f"x_dim_{axis}" for axis in range(data.dim() - 1)]
    names = {} if labels.rows is None else {"datum": ("datum", labels.rows)}
    predictive = xr.Dataset({"x": (("chain", "draw", "datum", *event), completed[None])}, names)
    observed = xr.Dataset({"x": (("datum", *event), data.cpu().numpy())}, names)
    attributes = {"created_by": "ppl_vae.impute", "seed": seed, "missing": missing.double().mean().item()}
    return container.build(groups | {"posterior_predictive": predictive, "observed_data": observed}, attributes)


@torch.no_grad()
def _completed(
    pair: Pair, batch: tuple[Tensor, ...], values: Mapping[str, np.ndarray], seed: int
) -> NDArray[np.float64]:
    """Complete the data with draws of the likelihood at given latent values: [K, N, *event_shape]."""
    model, _, data = with_indices(pair.model, pair.guide, batch)
    x = data[0]
    num_draws = len(next(iter(values.values())))
    drawn_codes, reached = _of_reached(pair, batch, values)
    size = chains_per_pass(x, num_draws, PASS)
    parts = []
    for first in range(0, len(x), size):
        rows = slice(first, first + size)
        here = {name: value[:, rows] for name, value in drawn_codes.items()}
        of_x = at_covariates(model, tuple(each[rows] for each in data[1:]))
        with evaluating(pair.model, pair.guide, seed=derived_seed(seed, first), device=x.device):
            joint = log_joint(of_x, x[rows], here)
            observed = [site for site in joint.observations.values() if site.is_data]
            if len(observed) != 1:
                raise ModelError(
                    f"imputation needs one observed site, and the model has {list(joint.observations)}"
                )
            drawn = observed[0].p.sample()
            if drawn.shape[-x.dim() :] != x[rows].shape:
                raise ModelError(
                    f"imputation needs draws like x {list(x[rows].shape)}, and the likelihood draws "
                    f"{list(drawn.shape)}"
                )
            drawn = drawn.expand(num_draws, *x[rows].shape)
            if not first:
                require_independent(of_x, x[rows], here, drawn)
        parts.append(torch.where(x[rows].isnan() & reached[rows], drawn, x[rows]).cpu().double().numpy())
    return np.concatenate(parts, 1)


def _of_reached(
    pair: Pair, batch: tuple[Tensor, ...], values: Mapping[str, np.ndarray]
) -> tuple[dict[str, Tensor], Tensor]:
    """The draws [K, N, *event] as the programs have them, and which data have any [N, 1, ...].

    The others have those of the first that has any, so that the programs can be run.
    """
    x = batch[0]
    absent = np.any([np.isnan(each).any(axis=(0, *range(2, each.ndim))) for each in values.values()], 0)
    instead = np.where(absent, np.flatnonzero(~absent)[0], np.arange(len(absent)))
    model, guide, data = with_indices(pair.model, pair.guide, batch)
    with evaluating(model, guide, seed=0, device=x.device):
        terms = run_terms(model, guide, tuple(part[:2] for part in data))
    # ArviZ holds floats; a category is an index to a program.
    drawn = {
        name: torch.as_tensor(value[:, instead], device=x.device).to(terms.sites[name].read.dtype)
        for name, value in values.items()
    }
    return drawn, torch.as_tensor(~absent, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
