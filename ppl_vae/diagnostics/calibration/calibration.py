r"""Simulation-based calibration of an amortised guide, without fitting anything again.

For simulated (z_0, x) and draws z_1, ..., z_L from q(z|x), the rank of t(z_0, x) among t(z_1, x), ..., t(z_L, x) is
uniform on 0, ..., L for every test quantity t if q is the posterior (Cook, Gelman & Rubin 2006; Talts et al. 2018).
The quantities here are every latent dimension, log p(x|z), log p(z), and the user's own. A quantity that depends
on the data is needed: a guide that ignores x and returns the prior passes in every dimension, and fails at
log p(x|z) (Modrák et al. 2023).

Talts, Betancourt, Simpson, Vehtari & Gelman 2018, https://arxiv.org/abs/1804.06788; Modrák et al. 2023,
https://arxiv.org/abs/2211.02383.

With importance weights w = p(x, z) / q(z|x) a draw counts by its normalised weight: what is judged then is the
guide corrected by L importance draws. Its ranks are uniform only as far as L weights repair the guide, and
constant weights give the plain ranks back. ``ranks`` has the formulas, and how equal values are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.ranks import rank_of_first
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, as_simulated
from ppl_vae.diagnostics.calibration.uniformity import ecdf, ecdf_bands, uniformity_p_value
from ppl_vae.diagnostics.calibration.verdict import check_calibration
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.evaluation import data_per_chunk
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

__all__ = ["LOG_LIKELIHOOD", "LOG_PRIOR", "Quantity", "check_calibration", "ecdf_bands", "run_calibration"]

# Ties are broken from a stream of their own.
TIES_STREAM = 21
MOST_FRACTIONS = 100
LEVEL = 0.95
LOG_LIKELIHOOD, LOG_PRIOR = "log p(x|z)", "log p(z)"

# quantity(x, z) -> [K, S] for x [S, *event_shape] and z [K, S, *event]; z is a mapping where sites are several.
# With covariates it is quantity(x, z, c1, ..., cm).
Quantity = Callable[..., Tensor]


@renamed(num_draws="num_samples")
@by_keyword("seed", "quantities", "importance_weighted")
def run_calibration(
    pair: PairLike | SimulatedPosteriors,
    x: Data | tuple[int, ...] | None = None,
    num_simulations: int = 1000,
    num_samples: int = 99,
    *,
    quantities: Mapping[str, Quantity] | None = None,
    importance_weighted: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """Rank simulated latent values among the guide's draws.

    Args:
        pair: an object with ``.model`` and ``.guide``, a tuple of the two programs, or what ``simulate_posteriors``
            returned; the next three arguments and its seed are then those of that run.
        x: data [N, *event_shape] for their shape, dtype and missing coordinates, or the event shape as a tuple.
            With covariates a tuple (x, c1, ..., cm) or a dict of named arrays: x is simulated given those.
        num_simulations: S.
        num_samples: L. The ranks of S simulations take L + 1 values; 99 gives hundredths.
        quantities: further test quantities by name, each a function of data [S, *event_shape] and latent values
            [K, S, *event] (a mapping by site where there are several) that returns [K, S]; with covariates of
            these too, each [S, ...].
        importance_weighted: rank under the draws' normalised importance weights.
        seed: of simulations, draws and tie-breaking; torch's global generators are left as they were.

    Returns:
        A Dataset with ``ranks`` and ``pit`` [simulation, quantity]; by quantity, ``p_value`` against uniform and
        ``correlation`` of the simulated value with the mean of its draws; ``ecdf_difference`` [quantity, fraction],
        the share of pit below a fraction less the fraction; ``band_lower`` and ``band_upper`` [fraction], which
        hold all differences of all quantities with probability 0.95 if the guide is the posterior. With covariates
        ``datum`` [simulation] too, which datum lent them: ``calibration_table`` tests the ranks by covariate.

    Raises:
        ModelError: the pair is refused, its model cannot be drawn from, or a quantity is not [K, S] or not finite.
        DataError: x is empty, or holds values that the model could never draw.

    >>> import torch
    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> simulated = pv.diagnostics.simulate_posteriors(lg, (3,), num_simulations=200, num_samples=19)
    >>> pv.diagnostics.check_calibration(run_calibration(simulated)).level
    'good'
    """
    posteriors = as_simulated(pair, x, num_simulations, num_samples, seed)
    share = _normalised_weights(posteriors) if importance_weighted else None
    generator = torch.Generator().manual_seed(derived_seed(seed, TIES_STREAM))
    attributes = {
        "num_draws": posteriors.num_draws,
        "importance_weighted": int(importance_weighted),
        "seed": seed,
    }
    values = _values(posteriors, quantities or {})
    table = ranked(values, len(posteriors.dimension_names), share, generator, attributes)
    if not posteriors.covariates or posteriors.datum is None:
        return table
    table["datum"] = ("simulation", posteriors.datum.numpy(), {"description": "which datum lent its covariates"})
    return table.assign_attrs(num_data=posteriors.num_data)


def ranked(
    quantities: Iterable[tuple[str, Tensor]],
    num_dimensions: int,
    share: Tensor | None,
    generator: torch.Generator,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Rank row 0 of test quantities among the others, as ``run_calibration`` tells it.

    Args:
        quantities: names and values [1 + L, S]; latent dimensions first.
        num_dimensions: how many of them are.
        share: normalised weights of the draws [L, S]; None where all count alike.
        generator: of ties.
        attributes: of the table.
    """
    names: list[str] = []
    rows: list[tuple[Tensor, Tensor, float]] = []
    for name, values in quantities:
        if name in names:
            raise ModelError(f"quantity {name!r} is there twice: give each a name of its own")
        if values.isnan().any():
            raise ModelError(f"quantity {name!r}: expected numbers, found {int(values.isnan().sum())} that are NaN")
        names.append(name)
        rows.append((*rank_of_first(values, generator, share), _correlation(values)))
    ranks, pit, correlation = zip(*rows, strict=True)
    return _table(names, num_dimensions, ranks, pit, correlation, attributes)


def _values(posteriors: SimulatedPosteriors, quantities: Mapping[str, Quantity]) -> Iterator[tuple[str, Tensor]]:
    """List every test quantity [1 + L, S], latent dimensions first."""
    dimensions = posteriors.dimensions
    for index, name in enumerate(posteriors.dimension_names):
        yield name, dimensions[..., index]
    yield LOG_LIKELIHOOD, posteriors.log_likelihood
    yield LOG_PRIOR, posteriors.log_prior
    for name, quantity in quantities.items():
        yield name, _evaluated(name, quantity, posteriors)


def _evaluated(name: str, quantity: Quantity, posteriors: SimulatedPosteriors) -> Tensor:
    """Evaluate a user's quantity at all latent values, in chunks, on the device of the pair: [1 + L, S]."""
    rows, per_pass = 1 + posteriors.num_draws, data_per_chunk(posteriors.x, 1 + posteriors.num_draws)
    parts = []
    for start in range(0, posteriors.num_simulations, per_pass):
        chunk = slice(start, start + per_pass)
        x = posteriors.x[chunk].to(posteriors.device)
        z = {site: value[:, chunk].to(posteriors.device) for site, value in posteriors.values.items()}
        with torch.no_grad():
            given = (c[chunk].to(posteriors.device) for c in posteriors.covariates)
            found = torch.as_tensor(quantity(x, z if len(z) > 1 else next(iter(z.values())), *given)).cpu()
        if found.shape != (rows, len(x)):
            raise ModelError(
                f"quantity {name!r}: expected shape [K, S] = {[rows, len(x)]} for latent values [K, S, ...], "
                f"got {list(found.shape)}"
            )
        parts.append(found)
    return torch.cat(parts, dim=1)


def _normalised_weights(posteriors: SimulatedPosteriors) -> Tensor:
    log_weight = posteriors.log_likelihood + posteriors.log_prior - posteriors.require_density()
    return torch.softmax(log_weight[1:].double(), dim=0)


def _correlation(values: Tensor) -> float:
    """The correlation of the simulated value with the mean of its draws; 0 where either is constant."""
    truth, mean = values[0].double(), values[1:].double().mean(0)
    truth, mean = truth - truth.mean(), mean - mean.mean()
    scale = math.sqrt(truth.square().sum().item() * mean.square().sum().item())
    return (truth @ mean).item() / scale if scale > 0 else 0.0


def _table(
    names: list[str],
    num_dimensions: int,
    ranks: tuple[Tensor, ...],
    pit: tuple[Tensor, ...],
    correlation: tuple[float, ...],
    attributes: dict[str, Any],
) -> xr.Dataset:
    uniform = torch.stack(pit, dim=1).numpy()
    size, count = uniform.shape
    parts = min(attributes["num_draws"] + 1, MOST_FRACTIONS)
    # A band for each of several quantities, so that all stay inside with probability LEVEL (Bonferroni).
    bands = ecdf_bands(size, parts, 1 - (1 - LEVEL) / count)
    kinds = ["latent dimension"] * num_dimensions + ["test quantity"] * (count - num_dimensions)
    curves = np.stack([ecdf(column, parts) - bands.fraction for column in uniform.T])
    return xr.Dataset(
        {
            "ranks": (("simulation", "quantity"), torch.stack(ranks, dim=1).numpy()),
            "pit": (("simulation", "quantity"), uniform),
            "p_value": ("quantity", [uniformity_p_value(column, parts) for column in uniform.T]),
            "correlation": ("quantity", list(correlation)),
            "ecdf_difference": (("quantity", "fraction"), curves),
            "band_lower": ("fraction", bands.lower - bands.fraction),
            "band_upper": ("fraction", bands.upper - bands.fraction),
        },
        {"quantity": names, "kind": ("quantity", kinds), "fraction": bands.fraction},
        attributes | {"band_level": LEVEL},
    )
