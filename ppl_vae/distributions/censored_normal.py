r"""The censored Gaussian (Tobin 1958): a Gaussian whose values beyond limits are recorded at the limits.

    p(x) = N(x; loc, scale^2)               between the limits, a density in units of x
    P(x = low) = Phi((low - loc) / scale),  P(x = high) = Phi((loc - high) / scale),  masses

The log of a tail is taken as log(erfcx(t) / 2) - t^2 with t = -u / sqrt(2), in double precision, which neither
underflows nor cancels, in its gradient neither. In h = loc / scale and t = 1 / scale the log likelihood of data is
concave (Olsen 1978), so that ``censored_fit`` has one maximum to find.

Tobin (1958), "Estimation of relationships for limited dependent variables": https://doi.org/10.2307/1907382
Olsen (1978), "Note on the uniqueness of the maximum likelihood estimator for the Tobit model":
https://doi.org/10.2307/1913082
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.log_normal import HALF_LOG_2_PI


class CensoredNormal(dist.TorchDistribution):
    """A Gaussian of which values beyond the limits are seen at them.

    Args:
        loc: the mean without limits, [*batch].
        scale: the standard deviation without limits, which broadcasts to it.
        low: the lower limit; None where there is none.
        high: the upper limit, likewise.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  (torch's protocol)

    def __init__(
        self, loc: Tensor, scale: Tensor, low: float | None, high: float | None, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.low, self.high = low, high
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The interval between the limits, with both."""
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return constraints.interval(low, high)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density between the limits, the log mass at them: nats."""
        if self._validate_args:
            self._validate_sample(value)
        x, loc, scale = value.double(), self.loc.double(), self.scale.double()
        density = -0.5 * ((x - loc) / scale).square() - scale.log() - HALF_LOG_2_PI
        # The limits as the data hold them, which are compared with them.
        if self.low is not None:
            low = value.new_tensor(self.low)
            density = torch.where(value <= low, log_tail((low.double() - loc) / scale), density)
        if self.high is not None:
            high = value.new_tensor(self.high)
            density = torch.where(value >= high, log_tail((loc - high.double()) / scale), density)
        return density.to(torch.promote_types(self.loc.dtype, value.dtype))

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw values, those beyond a limit at it."""
        with torch.no_grad():
            loc = self.loc.expand(self._extended_shape(sample_shape))
            value = loc + self.scale * torch.randn_like(loc)
            return value if self.low is None and self.high is None else value.clamp(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """The mean of what is recorded."""
        centre, first, _ = self._moments()
        return (centre + self.scale.double() * first).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of what is recorded."""
        _, first, second = self._moments()
        return (self.scale.double().square() * (second - first.square()).clamp(min=0)).to(self.loc.dtype)

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The point between the limits that is nearest to loc, and two moments around it, in units of scale.

        Around 0 the second one would be nearly the square of the first wherever loc is far from 0.
        """
        loc, scale = self.loc.double(), self.scale.double()
        centre = loc if self.low is None and self.high is None else loc.clamp(self.low, self.high)
        r = (centre - loc) / scale
        first = second = below = above = slope = moment = torch.zeros_like(loc)
        inside = torch.ones_like(loc)
        if self.low is not None:
            a = (self.low - loc) / scale
            below, far = _mass_below(a), (self.low - centre) / scale
            bell = (-0.5 * a.square() - HALF_LOG_2_PI).exp()
            first, second = first + far * below, second + far.square() * below
            slope, moment = slope + bell, moment + a * bell
            inside = torch.where(r > 0, _mass_below(-a), inside - below)
        if self.high is not None:
            b = (self.high - loc) / scale
            above, far = _mass_below(-b), (self.high - centre) / scale
            bell = (-0.5 * b.square() - HALF_LOG_2_PI).exp()
            first, second = first + far * above, second + far.square() * above
            slope, moment = slope - bell, moment - b * bell
            inside = torch.where(r < 0, _mass_below(b) - below, inside - above)
        second = second + (1 + r.square()) * inside + moment - 2 * r * slope
        return centre, first + slope - r * inside, second

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> CensoredNormal:
        """Repeat the distribution over a larger batch."""
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return CensoredNormal(loc, scale, self.low, self.high, self._validate_args)


def _mass_below(u: Tensor) -> Tensor:
    """The distribution function Phi(u), whose lower tail torch.special.ndtr rounds to 0 from -8.3 on."""
    return 0.5 * torch.special.erfc(-u / math.sqrt(2))


def log_tail(u: Tensor) -> Tensor:
    """The logarithm log Phi(u) of the Gaussian's distribution function, for u of double precision."""
    # Both branches are finite everywhere, so that the one not taken leaves no NaN in a gradient. Not by clamp: its
    # gradient at its limit is 0 from torch 2.14 on, so that a datum at a limit would not move a mean that is there.
    below = u < 0
    t = torch.where(below, -u, 0.0) / math.sqrt(2)
    left = (0.5 * torch.special.erfcx(t)).log() - t.square()
    right = (-0.5 * torch.special.erfc(torch.where(below, 0.0, u) / math.sqrt(2))).log1p()
    return torch.where(below, left, right)


@torch.no_grad()
def censored_fit(x: Tensor, low: float | None, high: float | None) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood loc and scale of the observed values of columns x [N, M]: [M] each, double precision.

    Where there is no maximum, as with no value between the limits, they are mean and standard deviation.
    """
    ends = tuple(
        sign * math.inf if end is None else x.new_tensor(end).item() for end, sign in ((low, -1), (high, 1))
    )
    found = [_fit(column[~column.isnan()].double(), *ends) for column in x.unbind(-1)]
    loc, scale = torch.tensor(found, dtype=torch.float64, device=x.device).reshape(-1, 2).unbind(-1)
    return loc, scale


def _fit(x: Tensor, low: float, high: float) -> tuple[float, float]:
    """The fit of one column [N], in units of its mean and standard deviation, from its counts and two moments."""
    # Loaded here, so that a model without censored columns goes without scipy.
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    mean = x.mean().item()
    spread = (x - mean).square().mean().sqrt().item()
    inside = (x[(x > low) & (x < high)] - mean) / spread
    if not (len(inside) and len(inside) < len(x) and spread > 0):
        return mean, spread
    number, first, second = len(inside), inside.mean().item(), inside.square().mean().item()
    ends = [((low - mean) / spread, 1, int((x <= low).sum())), ((high - mean) / spread, -1, int((x >= high).sum()))]

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the mean log likelihood at (h, log t), and its slope."""
        h, t = float(point[0]), math.exp(point[1])
        value = number * (point[1] - 0.5 * (t * t * second - 2 * t * h * first + h * h))
        slope = number * np.array([t * first - h, 1 - t * (t * second - h * first)])
        for end, side, count in ends:
            if count:
                tail = float(log_ndtr(side * (t * end - h)))
                mills = side * math.exp(-0.5 * (t * end - h) ** 2 - HALF_LOG_2_PI - tail)
                value, slope = value + count * tail, slope + count * mills * np.array([-1, t * end])
        return -value / len(x), -slope / len(x)

    best = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
    h, scale = best.x[0], math.exp(-best.x[1])
    if not (np.abs(best.jac).max() < 1e-5 and math.isfinite(h * scale)):
        return mean, spread
    return mean + spread * scale * h, spread * scale
