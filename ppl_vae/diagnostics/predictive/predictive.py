r"""Predictive checks compare data sets that the model draws with the one that it was given.

A statistic T of the data is compared with T of replicated data sets of the same size, of two kinds:

    population   z_n ~ p(z),       x_n ~ p(x | z_n)     new data; the prior predictive check (Box 1980)
    local        z_n ~ q(z | x_n), x_n ~ p(x | z_n)     each datum again, from its own posterior (Rubin 1984;
                                                        Gelman, Meng & Stern 1996)

The population check is a test of the fitted model as a whole: if the data are its draws, the share of replicates
above T is uniform. The local one uses every datum twice, for its posterior and for its judgement: that share crowds
at 1/2, so that passing proves little and failing much. For R replicates the p-value is two-sided,

    p = min(1, 2 min(1 + #{T_r >= T}, 1 + #{T_r <= T}) / (R + 1)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.arviz.exported import data_sites
from ppl_vae.diagnostics.given import admitted, named
from ppl_vae.diagnostics.predictive.drawable import require_drawable
from ppl_vae.diagnostics.predictive.statistics import Statistic, default_statistics, evaluated, named_statistics
from ppl_vae.diagnostics.predictive.verdict import LOCAL, POPULATION, check_predictive
from ppl_vae.diagnostics.predictive.whole_replicates import (
    DataSet,
    local,
    observed_data,
    of_the_one_site,
    population,
    site_statistics,
)
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.protocols import traits
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

__all__ = ["LOCAL", "POPULATION", "Statistic", "check_predictive", "run_predictive"]

# Replicates are drawn from a stream of their own.
PREDICTIVE_STREAM = 23
# Values this close, relatively, are equal: sums of the same numbers in another order differ by rounding.
TIE = 1e-9

# n data with their programs and a number g -> g replicates of them [g, n, *event_shape].
Replicate = Callable[[Conditioned, int], Tensor]


@renamed(num_draws="num_samples")
@by_keyword("seed")
def run_predictive(
    pair: PairLike,
    x: Data,
    statistics: Mapping[str, Statistic] | None = None,
    num_samples: int = 1000,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compare statistics of the data with those of replicated data sets.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: the data [N, *event_shape]; with covariates a tuple or a dict (``inference.pair.covariates``), and every
            replicate is drawn given them. A missing coordinate (NaN) is missing in every replicate too.
        statistics: by name, functions of data [N, *event_shape] that return [N] or one number; by default those of
            ``predictive_statistics``. Of a model with several observed sites they take the data by site, and the
            default ones are told for each.
        num_samples: R replicates of the whole data set, of either kind. The smallest p-value is 2 / (R + 1).
        seed: of the replicates; torch's global generators are left as they were.

    Returns:
        A Dataset with ``observed`` [statistic]; ``replicated`` [kind, statistic, draw] for the kinds "population"
        and "local"; two-sided ``p_value`` and its Monte-Carlo error ``p_value_stderr`` [kind, statistic]; and
        ``datum_p_value`` [statistic, datum], each datum among its own local replicates (NaN where the statistic
        is one number for the data set, and of a datum of which nothing is there).

    Raises:
        ModelError: the pair or a statistic is refused; the site or the statistic is named.
        DataError: x is empty, or holds values that the model could never draw, such as grey ones under a Bernoulli.
    """
    integer("num_samples", num_samples)
    given = admitted(pair, x)
    x = given.x
    with torch.no_grad(), evaluating(*given.programs, seed=derived_seed(seed, PREDICTIVE_STREAM), device=x.device):
        if _is_whole(given):
            return named(_of_whole(given, statistics, num_samples, seed), given.labels)
        _require_drawable(given)
        table = traits(given.model).table
        columns = () if table is None else table.column_names
        chosen = default_statistics(x, columns) if statistics is None else named_statistics(statistics)
        observed = evaluated(chosen, x)
        tallies = {
            POPULATION: _tallied(_replicates(_population, given, num_samples), chosen, observed),
            LOCAL: _tallied(_replicates(_local, given, num_samples), chosen, observed),
        }
    return named(_table(observed, tallies, len(x), {"num_draws": num_samples, "seed": seed}), given.labels)


def _is_whole(given: Conditioned) -> bool:
    """Tell whether data sets are drawn as a whole: by site, all of their data at once."""
    few = given[: data_per_chunk(given.x, 1)]
    terms = run_terms(*few.programs, few.batch, {}, 1, "score", both_levels=True)
    sites = data_sites(terms)
    standings = [site.standing for site in terms.sites.values()] + [site.standing for site in sites.values()]
    plain = terms.whole is None and all(standing is None for standing in standings)
    apart = any(
        value_mask(site.p, site.mask) is not None or not _is_x(site.value, few.x) for site in sites.values()
    )
    return not plain or len(sites) > 1 or apart


def _is_x(value: Tensor, x: Tensor) -> bool:
    """Tell whether a site observes x itself, not a part of it nor what is made of it."""
    return value.shape == x.shape and bool(((x.to(value.dtype) == value) | x.isnan()).all())


def _of_whole(
    given: Conditioned, statistics: Mapping[str, Statistic] | None, num_samples: int, seed: int
) -> xr.Dataset:
    """Compare data by observed site with replicates of the whole data set."""
    terms = run_terms(*given.programs, given.batch, {}, 1, "score", both_levels=True)
    require_drawable(terms)
    data = observed_data(terms)
    own = None if statistics is None else of_the_one_site(named_statistics(statistics), data)
    chosen = site_statistics(data) if own is None else own
    observed = evaluated(chosen, data, len(given))
    tallies = {
        POPULATION: _tallied(population(given, num_samples), chosen, observed, len(given)),
        LOCAL: _tallied(local(given, num_samples), chosen, observed, len(given)),
    }
    return _table(observed, tallies, len(given), {"num_draws": num_samples, "seed": seed})


def _require_drawable(given: Conditioned) -> None:
    for rows in given.split(data_per_chunk(given.x, 1)):
        require_drawable(run_terms(*rows.programs, rows.batch))


def _population(rows: Conditioned, number: int) -> Tensor:
    several = rows.repeated(number)
    return simulate(several.model, several.x).x.unflatten(0, (number, len(rows)))


def _local(rows: Conditioned, number: int) -> Tensor:
    (observation,) = data_sites(run_terms(*rows.programs, rows.batch, {}, number)).values()
    return observation.p.sample().reshape(number, *rows.x.shape)


def _replicates(replicate: Replicate, given: Conditioned, num_draws: int) -> Iterator[Tensor]:
    """Draw R data sets [N, *event_shape]: several per pass where they are small, in several passes where large."""
    x = given.x
    together = max(1, data_per_chunk(x, 1) // len(x))
    per_pass = data_per_chunk(x, together)
    missing = x.isnan()
    for start in range(0, num_draws, together):
        number = min(together, num_draws - start)
        data = torch.cat([replicate(rows, number) for rows in given.split(per_pass)], dim=1)
        yield from torch.where(missing, torch.nan, data) if missing.any() else data


@dataclass(frozen=True)
class _Tally:
    """The tally of R replicates of one kind: their statistics, and per datum how many lie above and below.

    Arrays are by statistic: [R], and [N] or [].
    """

    figures: dict[str, NDArray[np.float64]]
    above: dict[str, Tensor]
    below: dict[str, Tensor]


def _tallied(
    replicates: Iterator[Tensor] | Iterator[DataSet],
    statistics: Mapping[str, Statistic],
    observed: Mapping[str, Tensor],
    size: int | None = None,
) -> _Tally:
    figures: dict[str, list[float]] = {name: [] for name in observed}
    above = {name: torch.zeros_like(value) for name, value in observed.items()}
    below = {name: torch.zeros_like(value) for name, value in observed.items()}
    for data in replicates:
        for name, value in evaluated(statistics, data, size).items():
            slack = TIE * observed[name].abs()
            figures[name].append(value.nanmean().item())
            above[name] += value >= observed[name] - slack
            below[name] += value <= observed[name] + slack
    return _Tally({name: np.array(values) for name, values in figures.items()}, above, below)


def _table(
    observed: dict[str, Tensor], tallies: dict[str, _Tally], num_data: int, attributes: dict[str, Any]
) -> xr.Dataset:
    number = attributes["num_draws"]
    truth = np.array([value.nanmean().item() for value in observed.values()])
    replicated = np.stack([np.stack(list(tally.figures.values())) for tally in tallies.values()])
    slack = TIE * abs(truth)[:, None]
    above = (replicated >= truth[:, None] - slack).sum(-1)
    below = (replicated <= truth[:, None] + slack).sum(-1)
    p_value, error = two_sided(above, below, number)
    per_datum = np.full((len(observed), num_data), np.nan)
    local = tallies[LOCAL]
    for row, (name, value) in enumerate(observed.items()):
        if value.dim():
            p_values, _ = two_sided(local.above[name].numpy(), local.below[name].numpy(), number)
            per_datum[row] = np.where(value.isnan(), np.nan, p_values)
    return xr.Dataset(
        {
            "observed": ("statistic", truth),
            "replicated": (("kind", "statistic", "draw"), replicated),
            "p_value": (("kind", "statistic"), p_value),
            "p_value_stderr": (("kind", "statistic"), error),
            "datum_p_value": (("statistic", "datum"), per_datum),
        },
        {"kind": list(tallies), "statistic": list(observed)},
        attributes | {"num_data": num_data},
    )


def two_sided(above: np.ndarray, below: np.ndarray, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute two-sided p-values and their Monte-Carlo errors from the numbers of R replicates on either side.

    >>> two_sided(np.array([0]), np.array([3]), 3)[0].item()
    0.5
    """
    tail = (1 + np.minimum(above, below)) / (number + 1)
    return np.minimum(1.0, 2 * tail), 2 * np.sqrt(tail * (1 - tail) / number)
