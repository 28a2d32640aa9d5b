"""Likelihoods of real-valued data: Gaussian and Student-t."""

from __future__ import annotations

import math

import numpy as np
import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.distributions.student_t import MOST_FREEDOM, StudentT
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_finite
from ppl_vae.precision import scale, widened

# Below this a per-pixel standard deviation buys unbounded likelihood from any pixel that is constant.
MIN_PIXEL_SCALE = 0.01
# An optimal sigma of a decoder that reproduces every datum would be 0; exp(-6) is the paper's own floor.
MIN_OPTIMAL_SIGMA = math.exp(-6)
# Beyond it, densities far from the mean and their gradients are no numbers of single precision.
LEAST_SIGMA = 1e-8
# The running variance is the mean of the first 1 / 0.05 batches, then moves by 0.05 of the way a batch.
RUNNING_WEIGHT = 0.05


class GaussianLikelihood(Likelihood):
    """The Gaussian p(x|z) = N(decoder(z), sigma^2), independent over coordinates; sigma in units of x.

    With sigma = "optimal" (Rybkin, Daniilidis & Levine 2021, "Simple and effective VAE training with calibrated
    decoders") the program that is conditioned on x in training mode takes the maximum-likelihood value

        sigma^2 = mean over batch, coordinates and particles of (x - decoder(z))^2,

    as a number: at the optimum its own derivative is zero, so the gradient is the same. Each density then
    depends on the whole batch. Evaluation, sampling and ``decode`` use a running mean of it over batches, which
    is a buffer: stored with the weights, moved in training mode with gradients enabled alone.

    Rybkin, Daniilidis & Levine (2021): https://arxiv.org/abs/2006.13202

    Args:
        sigma: a number from 1e-8 to 1e8 (fixed), "learned" (one parameter shared by all coordinates, starting at
            ``initial_sigma``), "per-pixel" (a second feature map, softplus, at least MIN_PIXEL_SCALE), or
            "optimal" (of the batch, shared by all coordinates, at least MIN_OPTIMAL_SIGMA).
        initial_sigma: where a learned sigma starts, and an optimal one stands before the first batch.
    """

    name = "gaussian"
    is_scaled = True
    variance: Tensor
    num_batches: Tensor

    @remembers
    def __init__(self, sigma: float | str = 1.0, initial_sigma: float = 1.0) -> None:
        super().__init__()
        if isinstance(sigma, str) and sigma not in ("learned", "per-pixel", "optimal"):
            raise ModelError(f"sigma must be a positive number, 'optimal', 'learned' or 'per-pixel', got {sigma!r}")
        for value in (sigma, initial_sigma):
            if not isinstance(value, str) and not LEAST_SIGMA <= value <= 1 / LEAST_SIGMA:
                raise ModelError(
                    f"sigma must be a positive number, got {value}; it may be 1e-8 to 1e8 in units of x"
                )
        # Plain floats, because a configuration is stored as JSON.
        self.sigma = sigma if isinstance(sigma, str) else float(sigma)
        self.initial_sigma = float(initial_sigma)
        self.num_parameters = 2 if sigma == "per-pixel" else 1
        if sigma == "learned":
            self.log_sigma = nn.Parameter(torch.tensor(math.log(self.initial_sigma)))
        if sigma == "optimal":
            self.register_buffer("variance", torch.tensor(self.initial_sigma**2))
            self.register_buffer("num_batches", torch.tensor(0.0))

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of real data."""
        loc = features.select(-1 - event_dim, 0)
        return dist.Normal(loc, self._scale(features, event_dim)).to_event(event_dim)

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) that is conditioned on x: with the batch's own sigma, if that is asked for."""
        if not self.training or self.sigma != "optimal":
            return self(features, event_dim)
        loc = features.select(-1 - event_dim, 0)
        with torch.no_grad():
            # NaN stands for a missing pixel; a batch without any pixel says nothing.
            variance = (x - loc).square().nanmean()
            variance = torch.where(variance.isnan(), self.variance, variance).clamp(min=MIN_OPTIMAL_SIGMA**2)
        if torch.is_grad_enabled():
            self._remember(variance)
        return dist.Normal(loc, variance.sqrt()).to_event(event_dim)

    @torch.no_grad()
    def _remember(self, variance: Tensor) -> None:
        self.num_batches.add_(1)
        self.variance.lerp_(variance.to(self.variance), self.num_batches.reciprocal().clamp(min=RUNNING_WEIGHT))

    def _scale(self, features: Tensor, event_dim: int) -> Tensor:
        if self.sigma == "per-pixel":
            return MIN_PIXEL_SCALE + softplus(features.select(-1 - event_dim, 1))
        if self.sigma == "learned":
            return scale(widened(self.log_sigma))
        return (
            widened(self.variance).sqrt() if self.sigma == "optimal" else features.new_full((), float(self.sigma))
        )

    def for_columns(self, count: int) -> None:
        """Learn one sigma for each column, where it is learned."""
        if self.sigma == "learned":
            self.log_sigma = nn.Parameter(self.log_sigma.detach().repeat(count))

    def check(self, x: Tensor) -> None:
        """Refuse data that are not finite."""
        check_finite(self.name, x)


class StudentTLikelihood(Likelihood):
    """The Student-t p(x|z) = t(df, decoder(z), sigma), for real data with outliers (Takahashi et al. 2018).

    Location and scale come from the features as those of a GaussianLikelihood do; sigma is the scale in units of
    x, and the standard deviation is sigma sqrt(df / (df - 2)).

    Args:
        df: degrees of freedom, fixed, more than 1: only then is there a mean to show; at most 1e8.
        sigma: a number, "learned" or "per-pixel", as in GaussianLikelihood.
        initial_sigma: where a learned sigma starts.
    """

    name = "student-t"
    is_scaled = True

    @remembers
    def __init__(self, df: float = 5.0, sigma: float | str = "learned", initial_sigma: float = 1.0) -> None:
        super().__init__()
        if not 1 < df <= MOST_FREEDOM:
            raise ModelError(f"df must be above 1 and at most 1e8 (a Gaussian), got {df}")
        if sigma == "optimal":
            raise ModelError("sigma 'optimal' has a closed form under likelihood 'gaussian' alone")
        self.df = float(df)
        self.gaussian = GaussianLikelihood(sigma, initial_sigma)
        self.num_parameters = self.gaussian.num_parameters
        self.remember(sigma=self.gaussian.sigma, initial_sigma=self.gaussian.initial_sigma)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of real data."""
        normal = self.gaussian(features, event_dim).base_dist
        return StudentT(self.df, normal.loc, normal.scale).to_event(event_dim)

    def location_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the Student-t with these quartiles; its standard deviation is larger, or infinite."""
        # Loaded here, so that other models go without scipy.
        from scipy.special import stdtrit

        columns = x.double().cpu().numpy().T
        seen = [column[~np.isnan(column)] for column in columns]
        quartiles = [np.quantile(each, (0.25, 0.5, 0.75)) if len(each) else np.full(3, np.nan) for each in seen]
        low, middle, high = torch.from_numpy(np.stack(quartiles, -1))
        return middle, (high - low) / (2 * float(stdtrit(self.df, 0.75)))

    def for_columns(self, count: int) -> None:
        """Learn one sigma for each column, where it is learned."""
        self.gaussian.for_columns(count)

    def check(self, x: Tensor) -> None:
        """Refuse data that are not finite."""
        check_finite(self.name, x)
