r"""The von Mises law of an angle, with draws that have a gradient; torch's has none.

    p(x) = exp(k cos(x - loc)) / (2 pi I_0(k)),    -pi <= x < pi;    k = 0 is the uniform law of the circle
    KL(q || p) = k_q A(k_q) - f(k_q) + f(k_p) - k_p A(k_q) cos(loc_q - loc_p)

with f = log I_0 and A = I_1 / I_0 as in ``bessel``. It is the von Mises-Fisher law of D = 2 in the angle.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from ppl_vae.distributions.bessel import moments
from ppl_vae.distributions.colatitude import COSINE, with_gradient
from ppl_vae.distributions.von_mises_fisher import cosine_angles


class VonMises(dist.VonMises):
    """Angles around a mean angle, density per radian.

    Args:
        loc: the mean angle in radians, [*batch].
        concentration: k >= 0, which broadcasts to it.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.nonnegative}  # noqa: RUF012
    has_rsample = True

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The functions f(k) and A(k) of ``bessel``: [*batch], in double precision."""
        return moments(self.concentration, 2)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density [*batch], nats."""
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration.double()
        half = 0.5 * (value.double() - self.loc.double())
        log_p = -2 * k * half.sin().square() - (self.moments[0] - k) - math.log(2 * math.pi)
        return log_p.to(torch.promote_types(self.loc.dtype, value.dtype))

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw angles [*sample, *batch] in [-pi, pi)."""
        k = self.concentration.double()
        shape = torch.Size(sample_shape) + self.batch_shape
        angle = cosine_angles(k.detach().expand(shape), 2)
        side = torch.rand_like(angle).sub(0.5).sign()
        turned = side * with_gradient(angle, k, 1 - self.moments[1], 2, COSINE)
        return wrapped(self.loc.double() + turned).to(self.loc.dtype)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw angles without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def entropy(self) -> Tensor:
        """The entropy [*batch], nats."""
        return (math.log(2 * math.pi) - _from_uniform(self)).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The circular variance 1 - A(k): [*batch]."""
        return (1 - self.moments[1]).to(self.loc.dtype)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> VonMises:
        """Repeat the distribution over a larger batch."""
        return VonMises(self.loc.expand(batch_shape), self.concentration.expand(batch_shape), self._validate_args)


def wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _from_uniform(q: VonMises) -> Tensor:
    f, mean = q.moments
    return q.concentration.double() * mean - f


@register_kl(VonMises, VonMises)
def _kl_same(q: VonMises, p: VonMises) -> Tensor:
    turn = (q.loc.double() - p.loc.double()).cos()
    rest = p.moments[0] - p.concentration.double() * q.moments[1] * turn
    return (_from_uniform(q) + rest).to(q.loc.dtype)
