r"""The power spherical law on S^(D-1) (De Cao & Aziz 2020), which is drawn without rejection.

    p(x) = (1 + mu'x)^k / N(k),   N = 2^(a + b) pi^b Gamma(a) / Gamma(a + b),   a = (D-1)/2 + k,  b = (D-1)/2

The angle t from mu has cos(t/2)^2 ~ Beta(a, b), drawn as a ratio of two gammas, so that small angles keep
their digits.
KL to the uniform law (section 2.3): k (log 2 + psi(a) - psi(a + b)) - log N + log area.

De Cao & Aziz (2020): https://arxiv.org/abs/2006.04437
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions.kl import register_kl

from ppl_vae.distributions.colatitude import LOG_COSINE, placed, with_gradient
from ppl_vae.distributions.spherical_uniform import SphericalUniform, log_area


class PowerSpherical(dist.TorchDistribution):
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
        self.concentration, _ = torch.broadcast_tensors(concentration, loc[..., 0])
        self.loc, _ = torch.broadcast_tensors(loc, self.concentration.unsqueeze(-1))
        super().__init__(self.concentration.shape, self.loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean direction [*batch, D]."""
        return self.loc

    @property
    def _shapes(self) -> tuple[Tensor, float]:
        """The numbers a and b of the beta law, in double precision."""
        b = (self.event_shape[0] - 1) / 2
        return self.concentration.double() + b, b

    @property
    def _log_normaliser(self) -> Tensor:
        """The log normaliser less k log 2: the density is then a power of (1 + mu'x) / 2."""
        a, b = self._shapes
        return 2 * b * math.log(2) + b * math.log(math.pi) + a.lgamma() - (a + b).lgamma()

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at points of the sphere [*batch, D]: nats."""
        if self._validate_args:
            self._validate_sample(value)
        x, mu = value.double(), self.loc.double()
        apart, near = (x - mu).square().sum(-1) / 4, (x + mu).square().sum(-1) / 4
        # Of log (1 + mu'x) / 2, the form that keeps its digits, each finite where the other is taken.
        close = apart < 0.5
        log_half = torch.where(close, (-torch.where(close, apart, 0.5)).log1p(), near.clamp(min=1e-300).log())
        log_p = self.concentration.double() * log_half - self._log_normaliser
        return log_p.to(torch.promote_types(self.loc.dtype, value.dtype))

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw directions [*sample, *batch, D]."""
        a, b = self._shapes
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            along = torch._standard_gamma(a.expand(shape).contiguous())
            across = torch._standard_gamma(torch.full_like(along, b))
            angle = 2 * torch.atan2(across.sqrt(), along.sqrt())
            deviance = (a + b).digamma() - a.digamma()
        k = self.concentration.double()
        return placed(with_gradient(angle, k, deviance, self.event_shape[0], LOG_COSINE), self.loc)

    def entropy(self) -> Tensor:
        """The entropy [*batch], nats."""
        a, b = self._shapes
        return (self._log_normaliser + (a - b) * ((a + b).digamma() - a.digamma())).to(self.loc.dtype)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> PowerSpherical:
        """Repeat the distribution over a larger batch."""
        loc, concentration = self.loc.expand(*batch_shape, -1), self.concentration.expand(batch_shape)
        return PowerSpherical(loc, concentration, self._validate_args)


@register_kl(PowerSpherical, SphericalUniform)
def _kl_uniform(q: PowerSpherical, p: SphericalUniform) -> Tensor:
    a, b = q._shapes
    below = (a - b) * ((a + b).digamma() - a.digamma()) + q._log_normaliser
    return (log_area(q.event_shape[0]) - below).to(q.loc.dtype)
