r"""The log density of a value without gradients, in as few operations as it takes.

Plates expand a distribution over particles and data before its density is asked for, and torch then takes the
logarithm of one scale a million times. Here parameters that are repeated are read once:

    log N(x; m, s)      = - 1/2 |(x - m) / s|^2 - sum_d log s_d - D/2 log 2 pi
    log Bernoulli(x; l) = sum_d x_d l_d - log(1 + exp l_d)                        l the logits

and the sum over the event is a product with a vector of ones: torch's reductions over a short last dimension take
five times as long. Under gradients, with validation, and for every other distribution it is ``log_prob`` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from ppl_vae.own_law import keeps_law

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Above it log(1 + exp l) is l to rounding.
LINEAR = {torch.float32: 20.0, torch.float64: 40.0}


def log_density(p: Distribution, value: Tensor) -> Tensor:
    """The log density log p(value), nats: [*batch], or a shape that broadcasts to it.

    Args:
        p: a distribution.
        value: [*batch, *event].
    """
    base, event_dim = _base(p)
    short = (
        None
        if torch.is_grad_enabled() or not isinstance(base, Distribution) or base._validate_args or not keeps_law(p)
        else _short(base)
    )
    if short is None or not isinstance(value, Tensor):
        found: Tensor = p.log_prob(value)
        return found
    return short(base, value, event_dim)


def _base(p: Distribution) -> tuple[Distribution, int]:
    """The distribution of the coordinates, and how many dimensions of its batch are the event's."""
    event_dim = 0
    while isinstance(p, Independent):
        event_dim += p.reinterpreted_batch_ndims
        p = p.base_dist
    return p, event_dim


def _short(base: Distribution) -> Callable[[Any, Tensor, int], Tensor] | None:
    # A subclass may have a density of its own.
    for kind, short in SHORT.items():
        if isinstance(base, kind) and type(base).log_prob is kind.log_prob:
            return short
    return None


def _normal(base: Normal, value: Tensor, event_dim: int) -> Tensor:
    loc, scale = _once(base.loc, event_dim), _once(base.scale, event_dim)
    energy = _event_sum(((value - loc) * scale.reciprocal()).square_(), event_dim)
    log_scale = scale.log().add_(HALF_LOG_2PI)
    if event_dim:
        log_scale = log_scale.expand(*log_scale.shape[:-event_dim], *base.loc.shape[-event_dim:])
        log_scale = log_scale.flatten(-event_dim).sum(-1)
    return energy.mul_(-0.5).sub_(log_scale)


def _bernoulli(base: Bernoulli, value: Tensor, event_dim: int) -> Tensor:
    logits = base.logits
    cost = torch.nn.functional.softplus(logits, threshold=LINEAR.get(logits.dtype, 20.0))
    fits = torch.broadcast_shapes(value.shape, cost.shape) == cost.shape and value.dtype == cost.dtype
    cost = cost.addcmul_(value, logits, value=-1) if fits else cost - value * logits
    return _event_sum(cost, event_dim).neg_()


def _event_sum(values: Tensor, event_dim: int) -> Tensor:
    """The sum over the last dimensions, by a product with ones."""
    if not event_dim:
        return values
    flat = values.flatten(-event_dim)
    rows = flat.shape[:-1].numel()
    return flat.reshape(rows, flat.shape[-1]).mv(flat.new_ones(flat.shape[-1])).view(flat.shape[:-1])


def _once(parameter: Tensor, event_dim: int) -> Tensor:
    """Undo the repetitions that ``expand`` has put into a parameter [*batch, *event].

    The last dimension of the batch, the data's, keeps them unless all others are repeated too: a loop over data and
    coordinates is a long one, over the coordinates alone it may be of two steps.
    """
    if not any(parameter.stride()):
        return parameter[(slice(0, 1),) * parameter.dim()]
    for dim in range(parameter.dim() - event_dim - 1):
        if parameter.stride(dim) == 0:
            parameter = parameter.narrow(dim, 0, 1)
    return parameter.contiguous()


SHORT: dict[type[Distribution], Callable[[Any, Tensor, int], Tensor]] = {Normal: _normal, Bernoulli: _bernoulli}
