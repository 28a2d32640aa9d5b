"""The importance bound and its jackknife against the number of draws: has it come to rest?"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.evidence import STREAM, jackknife
from ppl_vae.inference.evidence.importance import WeightBlock, weight_blocks
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed

INSTEAD = "run_global_importance estimates log p of the whole set"


def evidence_curve(
    pair: PairLike,
    x: Data,
    num_samples: Iterable[int] = (1, 10, 100, 1000, 5000),
    *,
    memory_limit: int = MEMORY_LIMIT,
    num_global: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """The importance bound (Burda et al. 2016) and its jackknife (Nowozin 2018) against the number of draws K.

    All of max(K) draws are used at every K: they are cut into groups of K, whose estimates are averaged.

    Burda, Grosse & Salakhutdinov (2016): https://arxiv.org/abs/1509.00519

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape]; with covariates a tuple or a dict (``inference.pair.covariates``).
        num_samples: the values of K, increasing.
        memory_limit: bytes that the activations of a pass may take, roughly.
        num_global: draws of the global sites g of a pair that has any; the bounds on log p(x_n | g) are averaged.
        seed: of the draws.

    Returns:
        A Dataset over "num_samples" of "importance" and "jackknife", means over the data in nats, each with
        its Monte-Carlo error ("importance_stderr", "jackknife_stderr"). The jackknife is NaN at K = 1. Estimates
        at neighbouring K share their draws: their differences have smaller errors than these.

    Raises:
        ModelError: the pair or an argument is refused.
        DataError: x is empty, or the model's likelihood has no density for some value of it.
    """
    if not isinstance(num_samples, Iterable):
        raise ModelError(f"num_samples: expected increasing numbers, at least one, got {num_samples!r}")
    counts = [integer("num_samples", k) for k in num_samples]
    if not counts or counts != sorted(set(counts)):
        raise ModelError(f"num_samples: expected increasing numbers, at least one, got {counts!r}")
    pair, (data, *given) = admitted(pair, x, keep_rows=True)
    source = derived_seed(seed, STREAM)
    whole = Conditioned((pair.model, pair.guide), (data, *given))
    held = at_global_draws(whole, integer("num_global", num_global), derived_seed(source, 1), INSTEAD)
    curves = [_curve(each, counts, derived_seed(source, 2, m), memory_limit) for m, each in enumerate(held)]
    if not curves:
        mean, error = _curve(whole, counts, source, memory_limit)
    else:
        mean = torch.stack([each for each, _ in curves]).mean(0)
        of_draws = torch.stack([each for _, each in curves]).square().mean(0) / len(curves)
        spread = torch.stack([each for each, _ in curves]).var(0) / len(curves) if len(curves) > 1 else of_draws
        error = spread.maximum(of_draws).sqrt()
    variables = {
        name: ("num_samples", values.numpy(), {"units": "nats per datum"})
        for name, values in {
            "importance": mean[:, 0],
            "importance_stderr": error[:, 0],
            "jackknife": mean[:, 1],
            "jackknife_stderr": error[:, 1],
        }.items()
    }
    return xr.Dataset(variables, {"num_samples": counts}, {"num_data": len(data), "seed": seed})


def _curve(given: Conditioned, counts: list[int], seed: int, memory_limit: int) -> tuple[Tensor, Tensor]:
    """The bound and the jackknife at every K, and their errors, of a pair of one level: [K, 2] each."""
    draws = max(counts[-1], 2)
    blocks = list(
        weight_blocks(
            *given.programs, given.x, draws, seed, memory_limit, labels=given.covariates, both_levels=True
        )
    )
    columns = [_of_groups(blocks, k) for k in counts]
    mean, error = (torch.stack(each).cpu() / len(given) for each in zip(*columns, strict=True))
    return mean, error


def _of_groups(blocks: list[WeightBlock], size: int) -> tuple[Tensor, Tensor]:
    """The bound and the jackknife by groups of ``size`` draws, summed over the data, and their errors: [2] each."""
    values = [_grouped(block.log_weight, size) for block in blocks]
    total = torch.stack([each.mean(1).sum(-1) for each in values]).sum(0)
    if values[0].shape[1] == 1:
        values = [_influence(block.log_weight).expand(2, -1, -1) for block in blocks]
    if blocks[0].shares_draws:
        # What the data share moves their sum.
        values = [torch.stack([each.sum(-1) for each in values]).sum(0).unsqueeze(-1)]
    variance = torch.stack([each.var(1).sum(-1) / each.shape[1] for each in values]).sum(0)
    return total, variance.sqrt()


def _grouped(log_weight: Tensor, size: int) -> Tensor:
    """The bound and the jackknife of every group of ``size`` draws: [2, groups, n]."""
    groups = len(log_weight) // size
    grouped = log_weight[: groups * size].unflatten(0, (groups, size)).transpose(0, 1)
    bound = log_mean_exp(grouped)
    corrected = jackknife(grouped) if size > 1 else torch.full_like(bound, torch.nan)
    return torch.stack([bound, corrected])


def _influence(log_weight: Tensor) -> Tensor:
    """The influence of each draw on log_mean_exp, to first order (the delta method), from log w [S, n]: [S, n]."""
    return (log_weight - log_mean_exp(log_weight)).exp() - 1
