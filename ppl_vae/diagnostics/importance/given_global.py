"""The weights of each datum's local latents given draws of the global sites: q(z_n | x_n, g) is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.inference.evidence.importance import WeightBlock
from ppl_vae.inference.evidence.pseudo_marginal import global_blocks
from ppl_vae.inference.pair.conditioned import Conditioned

# Sums of log w, whose means over draws of g mean something; of the others the median is told.
MEANS = ("elbo", "log_evidence")
ERRORS = ("elbo_stderr", "log_evidence_stderr")

Judge = Callable[[WeightBlock, bool], dict[str, Tensor]]


def given_global(
    given: Conditioned, num_samples: int, num_global: int, seed: int, memory_limit: int, judge: Judge
) -> xr.Dataset:
    """Judge the local weights at every draw of the global sites.

    Args:
        given: the pair and its data.
        num_samples: S local draws at each draw of the global sites.
        num_global: G of those.
        seed: of the draws.
        memory_limit: bytes that the activations of a pass may take, roughly.
        judge: what is told of the weights of some data: each [n].

    Returns:
        What ``judge`` tells over "datum", as means or medians over the draws, and "khat_given".

    Raises:
        ModelError: the guide has no local draws given the global ones; the site is named.
    """
    integer("num_global", num_global)
    columns: list[dict[str, Tensor]] = []
    blocks = global_blocks(
        *given.programs, given.x, max(2, num_global), num_samples, seed, memory_limit, given.covariates, True
    )
    for block in blocks:
        for log_weight, magnitude in zip(block.log_local, block.magnitude, strict=True):
            columns.append(judge(WeightBlock(0, log_weight, magnitude, block.eps, {}), False))
    every = {name: torch.stack([column[name] for column in columns[:num_global]]) for name in columns[0]}
    found = {name: _summary(name, every) for name in every}
    table = {name: ("datum", value.cpu().numpy()) for name, value in found.items()}
    return xr.Dataset(table).assign(khat_given=(("global_draw", "datum"), every["khat"].cpu().numpy()))


def mean_over_draws(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    """Average tables of the same numbers, each at a draw of the global sites.

    The error of a number of each datum is that of the draws alone, which differ in g too: the spread over them. One
    over data has the data's own beside it.
    """
    every = xr.concat(tables, "global_draw", data_vars="all", coords="minimal", compat="override", join="override")
    count = len(tables)
    found = tables[0].copy()
    for name in map(str, tables[0]):
        if name.endswith("_stderr"):
            spread = every[name.removesuffix("_stderr")].astype(float).var("global_draw", ddof=1) / count
            of_data = 0.0 if "datum" in every[name].dims else (every[name] ** 2).mean("global_draw")
            found[name] = every[name].isel(global_draw=0) if count == 1 else (spread + of_data) ** 0.5
        elif every[name].dtype.kind == "f":
            found[name] = every[name].mean("global_draw")
        found[name].attrs = tables[0][name].attrs
    return found.assign_attrs(num_global=count)


def _summary(name: str, every: dict[str, Tensor]) -> Tensor:
    """One number of each datum from those at every draw of the global sites [G, N]."""
    values = every[name]
    if name == "exact":
        return values.all(0)
    if name in MEANS:
        return values.mean(0)
    if name in ERRORS:
        # The draws of g differ too, which is in the spread of what is told at each.
        spread = every[name.removesuffix("_stderr")].std(0) if len(values) > 1 else values[0]
        return spread / len(values) ** 0.5
    # Where weights are equal at some of the draws, the others say what there is to say.
    return values.nanmedian(0).values
