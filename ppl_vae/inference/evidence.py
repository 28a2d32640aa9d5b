"""log p(x) by importance sampling (Burda et al. 2016): a stochastic lower bound, with its Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ppl_vae.inference.importance_weighted import log_mean_exp
from ppl_vae.inference.pair import Program
from ppl_vae.inference.terms import run_terms


def importance_bound(model: Program, guide: Program, x: Tensor, chunks: Iterable[int]) -> tuple[Tensor, Tensor]:
    """log (1/S) sum_s w_s of every datum, and its variance over draws by the delta method: [N] each, nats.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape].
        chunks: how many of the S draws are taken at a time; they add up to S.
    """
    log_weight = torch.cat([run_terms(model, guide, (x,), {}, draws).log_weight.double() for draws in chunks])
    bound = log_mean_exp(log_weight)
    return bound, (log_weight - bound).exp().var(0) / len(log_weight)
