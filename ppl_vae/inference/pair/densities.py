r"""The log density of a value: with the digits that it needs, and in as few operations as it takes.

A density of counts, or one with a log Gamma function, is a small difference of large numbers: x log r - r - log x!
at x = 1e7 are 1e8 nats each, of which single precision keeps 8, and where log weights are off by nats at random, a
bound on log p(x) lies above it. These densities are taken in double precision and rounded at the end.

Plates expand a distribution over particles and data before its density is asked for, and torch then takes the
logarithm of one scale a million times. Here, without gradients, parameters that are repeated are read once:

    log N(x; m, s)      = - 1/2 |(x - m) / s|^2 - sum_d log s_d - D/2 log 2 pi
    log Bernoulli(x; l) = sum_d x_d l_d - log(1 + exp l_d)                        l the logits

and the sum over the event is a product with a vector of ones: torch's reductions over a short last dimension take
five times as long. Of pixels that are all 0 or 1 the probabilities are multiplied before a logarithm is taken, one
for every eight: half of the time. Under gradients, with validation, and for every other distribution it is
``log_prob`` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from ppl_vae.own_law import keeps_law
from ppl_vae.recording import is_recording

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Above it log(1 + exp l) is l to rounding.
LINEAR = {torch.float32: 20.0, torch.float64: 40.0}
# Probabilities in a product, a power of two; and the coordinates of an event for which products are taken. One near
# 1 is rounded by 6e-8, and so is a product: more coordinates would lose more than a thousandth of a nat.
FACTORS, FEWEST, MOST = 8, 64, 4096


def log_density(p: Distribution, value: Tensor) -> Tensor:
    """The log density log p(value), nats: [*batch].

    Args:
        p: a distribution.
        value: [*batch, *event].
    """
    wide = _wide(p, value) if isinstance(value, Tensor) and keeps_law(p) else None
    if wide is not None:
        return wide.to(value.dtype if value.is_floating_point() else torch.get_default_dtype())
    base, event_dim = _base(p)
    short = (
        None
        if torch.is_grad_enabled() or not isinstance(base, Distribution) or base._validate_args or not keeps_law(p)
        else _short(base)
    )
    if short is None or not isinstance(value, Tensor):
        found: Tensor = p.log_prob(value)
        return found
    density = short(base, value, event_dim)
    # Repetitions that it has undone come back where one value is given for all of the batch.
    return density.expand(torch.broadcast_shapes(density.shape, p.batch_shape))


def _wide(p: Distribution, value: Tensor) -> Tensor | None:
    """The density [*batch] of a family in WIDE, made in double precision; None of any other, or in that already."""
    if isinstance(p, Independent):
        inner = _wide(p.base_dist, value)
        dims = p.reinterpreted_batch_ndims
        return inner.flatten(-dims).sum(-1) if inner is not None and dims else inner
    if isinstance(p, dist.MaskedDistribution):
        inner = _wide(p.base_dist, value)
        return None if inner is None else torch.where(torch.as_tensor(p._mask, device=inner.device), inner, 0.0)
    wide = _doubled(p)
    return None if wide is None else wide.log_prob(value.double())


def _doubled(p: Any) -> Distribution | None:
    """A family of WIDE with its parameters in double precision; None of any other, or where they are already."""
    if type(p) in ZERO_INFLATED:
        base = _doubled(p.base_dist)
        if base is None:
            return None
        gate = p.gate_logits.double()
        inflated: Distribution = dist.ZeroInflatedDistribution(
            base, gate_logits=gate, validate_args=p._validate_args
        )
        return inflated
    names = next((names for kind, names in WIDE.items() if type(p) is kind), None)
    if names is None or getattr(p, names[0]).dtype == torch.float64:
        return None
    given = {name: getattr(p, name) for name in names}
    parameters = {name: value.double() if isinstance(value, Tensor) else value for name, value in given.items()}
    wide: Distribution = type(p)(**parameters, validate_args=p._validate_args)
    return wide


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
    shape = torch.broadcast_shapes(value.shape, logits.shape)
    event = shape[len(shape) - event_dim :]
    plain = logits.device.type == "cpu" and logits.dtype in LINEAR and value.dtype == logits.dtype
    if not plain or value.shape[-event_dim:] != event or not FEWEST <= event.numel() <= MOST or is_recording():
        return _by_softplus(logits, value, event_dim)
    crisp = ((value == 0) | (value == 1)).flatten(-event_dim).all(-1)
    if not bool(crisp.any()):
        return _by_softplus(logits, value, event_dim)
    density, kept = _by_products(logits, value, event)
    lost = ~(kept & crisp)
    # Row by row, so that no datum's digits depend on another's.
    if bool(lost.any()):
        density[lost] = _by_softplus(logits.expand(shape)[lost], value.expand(shape)[lost], event_dim)
    return density


def _by_softplus(logits: Tensor, value: Tensor, event_dim: int) -> Tensor:
    cost = torch.nn.functional.softplus(logits, threshold=LINEAR.get(logits.dtype, 20.0))
    fits = torch.broadcast_shapes(value.shape, cost.shape) == cost.shape and value.dtype == cost.dtype
    cost = cost.addcmul_(value, logits, value=-1) if fits else cost - value * logits
    return _event_sum(cost, event_dim).neg_()


def _by_products(logits: Tensor, value: Tensor, event: torch.Size) -> tuple[Tensor, Tensor]:
    """The densities [*batch] of values 0 and 1, and of which of them no product is too small a number."""
    chances = (logits * (2 * value - 1)).sigmoid_()
    batch, size = chances.shape[: -len(event)], event.numel()
    products, rest = chances.reshape(-1, size).split([size - size % FACTORS, size % FACTORS], -1)
    while products.shape[1] > size // FACTORS:
        one, other = products.chunk(2, -1)
        products = one.mul_(other)
    products[:, : rest.shape[1]] *= rest
    kept = products.amin(-1) >= torch.finfo(products.dtype).tiny
    return _event_sum(products.log(), 1).view(batch), kept.view(batch)


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


# The parameters by which a density with large terms that cancel is made anew.
WIDE: Mapping[type[Distribution], tuple[str, ...]] = {
    dist.Poisson: ("rate",),
    dist.NegativeBinomial: ("logits", "total_count"),
    dist.GammaPoisson: ("concentration", "rate"),
    dist.Binomial: ("logits", "total_count"),
    dist.BetaBinomial: ("concentration1", "concentration0", "total_count"),
    dist.Gamma: ("concentration", "rate"),
    dist.Beta: ("concentration1", "concentration0"),
    dist.Dirichlet: ("concentration",),
    dist.StudentT: ("df", "loc", "scale"),
    dist.DirichletMultinomial: ("concentration", "total_count"),
    dist.Multinomial: ("logits", "total_count"),
    dist.InverseGamma: ("concentration", "rate"),
    dist.Chi2: ("df",),
    dist.FisherSnedecor: ("df1", "df2"),
    dist.VonMises: ("loc", "concentration"),
}
# Counts with more zeros than their family has.
ZERO_INFLATED = (dist.ZeroInflatedDistribution, dist.ZeroInflatedPoisson, dist.ZeroInflatedNegativeBinomial)
SHORT: dict[type[Distribution], Callable[[Any, Tensor, int], Tensor]] = {Normal: _normal, Bernoulli: _bernoulli}
