"""Replicates of a whole data set, of models with global sites, plates inside a datum, or several observed sites.

    population   g ~ q(g),   z_n ~ p(z_n | g),         x ~ p(x | z, g)
    local        g ~ q(g),   z_n ~ q(z_n | x_n, g),    x ~ p(x | z, g)

Every replicate has a draw of the global sites of its own. Data are by observed site, [N, *plates, *event], with NaN
where a datum has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ppl_vae.diagnostics.arviz.exported import data_sites
from ppl_vae.diagnostics.predictive.statistics import Statistic, default_statistics
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk
from ppl_vae.inference.pair.global_draws import FEWEST, draws_for_the_model
from ppl_vae.inference.pair.levels import Standing
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.inference.pair.terms import Observation, Terms

DataSet = Mapping[str, Tensor]


def observed_data(terms: Terms) -> dict[str, Tensor]:
    """The data of every observed site of a run: [N, *plates, *event], NaN where it is masked."""
    return {name: _with_holes(site, site.value)[0] for name, site in data_sites(terms).items()}


def population(given: Conditioned, number: int) -> Iterator[DataSet]:
    """Draw new data sets, one after another.

    Raises:
        ModelError: the model cannot be drawn from.
    """
    draw = draws_for_the_model(given)
    sites = data_sites(run_terms(*given.programs, given.batch, {}, 1, "score", both_levels=True))
    for _ in range(number):
        of_all = {name: value[0] for name, value in draw().items()} if draw else {}
        drawn = simulate(given.programs[0], *given.batch, values=of_all, put_back=False).observed
        yield {name: _with_holes(site, drawn[name])[0] for name, site in sites.items()}


def local(given: Conditioned, number: int) -> Iterator[DataSet]:
    """Draw each datum again from its own posterior, several replicates at a time."""
    together = max(FEWEST, data_per_chunk(given.x, 1) // len(given))
    for start in range(0, number, together):
        count = min(together, number - start)
        terms = run_terms(*given.programs, given.batch, {}, max(FEWEST, count), both_levels=True)
        drawn = {name: _with_holes(site, site.p.sample()) for name, site in data_sites(terms).items()}
        yield from ({name: value[index] for name, value in drawn.items()} for index in range(count))


def site_statistics(data: DataSet) -> dict[str, Statistic]:
    """The default statistics of every observed site, as functions of all of them; 0 where a datum has no data."""
    return {
        name if len(data) == 1 else f"{site}: {name}": _of_site(site, statistic)
        for site, values in data.items()
        for name, statistic in default_statistics(values).items()
    }


def of_the_one_site(statistics: Mapping[str, Statistic], data: DataSet) -> dict[str, Statistic]:
    """A user's statistics, which take the data of the one site, or of several by name."""
    if len(data) > 1:
        return dict(statistics)
    (site,) = data
    return {name: _of_site(site, statistic) for name, statistic in statistics.items()}


def _of_site(site: str, statistic: Statistic) -> Statistic:
    return lambda data: torch.nan_to_num(torch.as_tensor(statistic(data[site])).double())


def _with_holes(site: Observation, values: Tensor) -> Tensor:
    """Lay values out as [K, N, *plates, *event], with NaN where the site is masked or has NaN."""
    event = site.p.event_shape
    standing = site.standing or _plain(site)
    batch = values.shape[: values.dim() - len(event)]
    count = batch[0] if len(batch) == len(standing.batch) else 1
    placed = replace(standing, batch=(count, *standing.batch[1:]))
    values = values.expand(*placed.batch, *event)
    mask = value_mask(site.p, site.mask)
    missing = site.value.isnan() if site.value.is_floating_point() else torch.zeros((), dtype=torch.bool)
    missing = missing.to(values.device).expand(*placed.batch[1:], *event)
    if mask is not None:
        # All draws have one mask.
        missing = missing | ~mask[(0,) * max(0, mask.dim() - missing.dim())].to(values.device)
    if missing.any():
        values = torch.where(missing, torch.nan, values.double())
    return placed.in_order(values, len(event))


def _plain(site: Observation) -> Standing:
    """The place of a site in the data plate alone."""
    event = len(site.p.event_shape)
    rows = max(site.value.shape[site.value.dim() - event - 1] if site.value.dim() > event else 1, 1)
    rows = max(rows, site.p.batch_shape[-1] if site.p.batch_shape else 1)
    shape = torch.Size((1, rows))
    return Standing(shape, shape)
