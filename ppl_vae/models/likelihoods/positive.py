"""Likelihoods on a part of the line: log-normal, censored Gaussian and beta."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.distributions.beta import Beta
from ppl_vae.distributions.censored_normal import CensoredNormal, censored_fit
from ppl_vae.distributions.log_normal import LogNormal
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_finite
from ppl_vae.models.likelihoods.counts import BEGINNINGS, moments
from ppl_vae.models.likelihoods.real import GaussianLikelihood
from ppl_vae.precision import widened

MOST_LOG_CONCENTRATION = 20.0


class LogNormalLikelihood(Likelihood):
    """Positive data whose logarithm is Gaussian, as incomes and concentrations; the density is one of x itself.

    The features are the mean of log x; its standard deviation sigma is that of a ``GaussianLikelihood``.

    Args:
        sigma: of log x: a number, "learned" or "per-pixel".
        initial_sigma: where a learned sigma starts.
    """

    name = "log-normal"
    encoder_sees = "log"
    inside = 1.0
    is_scaled = True

    @remembers
    def __init__(self, sigma: float | str = "learned", initial_sigma: float = 1.0) -> None:
        super().__init__()
        self.gaussian = _without_optimum(sigma, initial_sigma)
        self.num_parameters = self.gaussian.num_parameters
        self.remember(sigma=self.gaussian.sigma, initial_sigma=self.gaussian.initial_sigma)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of positive data."""
        normal = self.gaussian(features, event_dim).base_dist
        return LogNormal(normal.loc, normal.scale).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are not positive."""
        check_finite(self.name, x)
        bad = (x <= 0).sum().item()
        if bad:
            raise DataError(f"likelihood {self.name!r} needs data above 0, but {bad} of {x.numel()} values are not")

    def start(self, x: Tensor) -> Tensor:
        """The mean of log x of data [N, *event_shape]: [P, *event_shape]."""
        mean = x.log().nanmean(0, keepdim=True)
        return torch.cat([mean, torch.zeros_like(mean).expand(self.num_parameters - 1, *mean.shape[1:])])

    def for_columns(self, count: int) -> None:
        """Learn one sigma for each column, where it is learned."""
        self.gaussian.for_columns(count)


class CensoredGaussianLikelihood(Likelihood):
    """A Gaussian that is recorded at a limit where it lies beyond, as under a detection limit (Tobin 1958).

    A value at a limit has the probability of all that lies beyond, a mass; one between them a density. Location and
    scale come from the features as those of a GaussianLikelihood do.

    Tobin (1958): https://doi.org/10.2307/1907382

    Args:
        low: the lower limit, in units of x; None or "none" where there is none.
        high: the upper limit, likewise.
        sigma: the standard deviation before it is censored: a number, "learned" or "per-pixel".
        initial_sigma: where a learned sigma starts.
    """

    name = "censored-gaussian"
    is_scaled = True

    @remembers
    def __init__(
        self,
        low: float | str | None = 0.0,
        high: float | str | None = None,
        sigma: float | str = "learned",
        initial_sigma: float = 1.0,
    ) -> None:
        super().__init__()
        self.limits = _limits(low, high)
        self.inside = next(limit for limit in self.limits if limit is not None)
        self.gaussian = _without_optimum(sigma, initial_sigma)
        self.num_parameters = self.gaussian.num_parameters
        self.remember(sigma=self.gaussian.sigma, initial_sigma=self.gaussian.initial_sigma)
        # In a configuration None would say that a part is the user's own.
        self.remember(**{name: _or_none(limit) for name, limit in zip(("low", "high"), self.limits, strict=True)})

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of censored data."""
        normal = self.gaussian(features, event_dim).base_dist
        return CensoredNormal(normal.loc, normal.scale, *self.limits).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values beyond the limits."""
        check_finite(self.name, x)
        low, high = (limit if limit is None else x.new_tensor(limit) for limit in self.limits)
        bad = (x != x.clamp(low, high)).sum().item()
        if bad:
            raise DataError(
                f"likelihood {self.name!r} needs data between its limits {self.limits}, but {bad} of {x.numel()} "
                "values are beyond"
            )

    def location_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the Gaussian before it is censored: maximum likelihood, not moments, which the limits move."""
        return censored_fit(x, *self.limits)

    def for_columns(self, count: int) -> None:
        """Learn one sigma for each column, where it is learned."""
        self.gaussian.for_columns(count)


class BetaLikelihood(Likelihood):
    """The beta density on (0, 1), for shares that are neither 0 nor 1 (Ferrari & Cribari-Neto 2004).

    The features are the logits of the mean m; the variance is m (1 - m) / (1 + c) with a learned concentration c
    that does not depend on z, from exp(-20) to exp(20).

    Ferrari & Cribari-Neto (2004): https://doi.org/10.1080/0266476042000214501

    Args:
        concentration_shape: of the learned log c, which broadcasts to the event shape; () is one for all.
        initial_concentration: where it starts.
    """

    name = "beta"
    inside = 0.5

    @remembers
    def __init__(self, concentration_shape: Sequence[int] = (), initial_concentration: float = 10.0) -> None:
        super().__init__()
        self.concentration_shape = tuple(whole("concentration_shape", n) for n in concentration_shape)
        if not math.exp(-MOST_LOG_CONCENTRATION) <= initial_concentration <= math.exp(MOST_LOG_CONCENTRATION):
            raise ModelError(
                f"initial_concentration must be a positive number, got {initial_concentration}; it may be exp(-20) "
                "to exp(20)"
            )
        self.initial_concentration = float(initial_concentration)
        start = torch.full(self.concentration_shape, math.log(self.initial_concentration))
        self.log_concentration = nn.Parameter(start)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of shares."""
        log_c = widened(self.log_concentration).clamp(-MOST_LOG_CONCENTRATION, MOST_LOG_CONCENTRATION)
        return Beta(features.squeeze(-1 - event_dim), log_c).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are not inside of (0, 1)."""
        check_finite(self.name, x)
        bad = ((x <= 0) | (x >= 1)).sum().item()
        if bad:
            raise DataError(
                f"likelihood {self.name!r} needs data inside of (0, 1), but {bad} of {x.numel()} values are not"
            )

    def start(self, x: Tensor) -> Tensor:
        """The logits of the mean of data [N, *event_shape]: [1, *event_shape]."""
        return x.nanmean(0, keepdim=True).logit()

    def for_columns(self, count: int) -> None:
        """Learn one concentration for each column."""
        self.concentration_shape = (count,)
        self.log_concentration = nn.Parameter(self.log_concentration.detach().repeat(count))

    @torch.no_grad()
    def begin_at(self, x: Tensor) -> None:
        """Begin at the concentrations m (1 - m) / v - 1 of columns with mean m and variance v, from 0.01 to 100."""
        mean, variance = moments(x)
        c = (mean * (1 - mean) / variance.clamp(min=1e-12) - 1).clamp(*BEGINNINGS)
        self.log_concentration.copy_(c.log())


def _limits(low: float | str | None, high: float | str | None) -> tuple[float | None, float | None]:
    first, last = (None if limit is None or limit == "none" else float(limit) for limit in (low, high))
    if first == last or (first is not None and last is not None and not first < last):
        raise ModelError(f"low and high must be limits, the one below the other, got {low!r} and {high!r}")
    return first, last


def _or_none(limit: float | None) -> float | str:
    return "none" if limit is None else limit


def _without_optimum(sigma: float | str, initial_sigma: float) -> GaussianLikelihood:
    if sigma == "optimal":
        raise ModelError("sigma 'optimal' has a closed form under likelihood 'gaussian' alone")
    return GaussianLikelihood(sigma, initial_sigma)
