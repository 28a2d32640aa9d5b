r"""The von Mises-Fisher law on the sphere S^(D-1), with a gradient of its draws and an exact KL.

    p(x) = exp(k mu'x) / (area(S^(D-1)) exp f(k)),    f and A = f' in ``bessel``
    KL(p || uniform) = k A(k) - f(k)                                      (Davidson et al. 2018, eq. 14)

Draws of the angle are Wood's (1994) by rejection: the first accepted of many proposals made at once, so that shapes
never depend on numbers. The density of x is taken by |x - mu|^2 = 2 - 2 mu'x, which keeps its digits.

Davidson, Falorsi, De Cao, Kipf & Tomczak (2018): https://arxiv.org/abs/1804.00891
Wood (1994), "Simulation of the von Mises Fisher distribution": https://doi.org/10.1080/03610919408813161
"""

from __future__ import annotations

from functools import cached_property

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions.kl import register_kl

from ppl_vae.distributions.bessel import moments
from ppl_vae.distributions.colatitude import COSINE, placed, with_gradient
from ppl_vae.distributions.spherical_uniform import SphericalUniform, log_area

# One is accepted with a probability of 0.65 or more, whatever D and k; none of these with less than 1e-7.
NUM_PROPOSALS = 16


class VonMisesFisher(dist.TorchDistribution):
    """Directions around a mean direction, with respect to the sphere's area.

    ``mean`` is the mean direction, as of Pyro's ProjectedNormal, not the expectation in R^D.

    Args:
        loc: mu, [*batch, D] of length one, D at least 2.
        concentration: k >= 0, [*batch].
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}  # noqa: RUF012
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, loc.shape[-1])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def dim(self) -> int:
        """The dimension D of the space around the sphere."""
        return self.event_shape[0]

    @property
    def mean(self) -> Tensor:
        """The mean direction [*batch, D]."""
        return self.loc

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The functions f(k) and A(k) of ``bessel``: [*batch], in double precision."""
        return moments(self.concentration, self.dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at points of the sphere [*batch, D]: nats."""
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration.double()
        apart = (value.double() - self.loc.double()).square().sum(-1)
        log_p = -0.5 * k * apart - (self.moments[0] - k) - log_area(self.dim)
        return log_p.to(torch.promote_types(self.loc.dtype, value.dtype))

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw directions [*sample, *batch, D]."""
        k = self.concentration.double()
        shape = torch.Size(sample_shape) + self.batch_shape
        angle = cosine_angles(k.detach().expand(shape), self.dim)
        deviance = 1 - self.moments[1]
        return placed(with_gradient(angle, k, deviance, self.dim, COSINE), self.loc)

    def entropy(self) -> Tensor:
        """The entropy [*batch], nats."""
        return (log_area(self.dim) - _from_uniform(self)).to(self.loc.dtype)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> VonMisesFisher:
        """Repeat the distribution over a larger batch."""
        shape = torch.Size(batch_shape)
        loc, concentration = self.loc.expand(*shape, self.dim), self.concentration.expand(shape)
        return VonMisesFisher(loc, concentration, self._validate_args)


@torch.no_grad()
def cosine_angles(k: Tensor, dim: int) -> Tensor:
    """Draw the angle from the mean direction, of the density exp(k cos t) sin(t)^(D-2) on (0, pi): as k, double.

    With Z = a / (a + c) a symmetric beta draw, Wood's proposal has tan(t/2)^2 = b a / c.
    """
    half = (dim - 1) / 2
    b = half / (k + (k.square() + half**2).sqrt())
    many = k.unsqueeze(-1).expand(*k.shape, NUM_PROPOSALS)
    one, other = (torch._standard_gamma(torch.full_like(many, half)) for _ in range(2))
    squared = (b.unsqueeze(-1) * one / other.clamp_min(1e-300)).clamp_min(1e-300)
    # 1 - cos t and, likewise, of Wood's x0 = (1 - b) / (1 + b), at which the ratio of densities is largest.
    drop, at_most = 2 * squared / (1 + squared), (2 * b / (1 + b)).unsqueeze(-1)
    x0 = 1 - at_most
    accept = many * (at_most - drop) + 2 * half * ((1 - x0 * (1 - drop)) / (1 - x0.square())).log()
    taken = torch.rand_like(many).log() <= accept
    first = taken.to(torch.uint8).argmax(-1, keepdim=True)
    return 2 * squared.gather(-1, first).squeeze(-1).sqrt().atan()


def _from_uniform(q: VonMisesFisher) -> Tensor:
    f, mean = q.moments
    return q.concentration.double() * mean - f


@register_kl(VonMisesFisher, SphericalUniform)
def _kl_uniform(q: VonMisesFisher, p: SphericalUniform) -> Tensor:
    return _from_uniform(q).to(q.loc.dtype)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_same(q: VonMisesFisher, p: VonMisesFisher) -> Tensor:
    along = (q.loc.double() * p.loc.double()).sum(-1)
    rest = p.moments[0] - p.concentration.double() * q.moments[1] * along
    return (_from_uniform(q) + rest).to(q.loc.dtype)
