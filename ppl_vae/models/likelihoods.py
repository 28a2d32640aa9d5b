r"""Likelihoods p(x|z): modules that turn a decoder's features into a distribution over data.

The features have the shape [*batch, P, *event_shape], where P = ``num_parameters`` is how many numbers the
likelihood needs for each coordinate of x; the distribution has that batch shape and event shape. A
likelihood also knows which data have a density under it (``check``): grey-scale pixels under a Bernoulli do
not, and are refused unless the relaxed one is asked for by name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.parts import from_spec

# Below this a per-pixel standard deviation buys unbounded likelihood from any pixel that is constant.
MIN_PIXEL_SCALE = 0.01


class Likelihood(nn.Module, ABC):
    """p(x|z) from decoder features.

    Attributes:
        name: its name in configurations and manifests.
        num_parameters: how many features each coordinate of x takes.
        is_density: False where ``log_prob`` is no log likelihood of the data (the relaxed Bernoulli).
    """

    name: str
    num_parameters: int = 1
    is_density: bool = True

    @abstractmethod
    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """[*batch, P, *event_shape] -> p(x|z), batch shape [*batch], ``event_dim`` event dimensions."""

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise DataError if some value of x is outside the support."""

    @property
    def config(self) -> dict[str, Any]:
        """The name and options that make this likelihood again."""
        return {"name": self.name}


class BernoulliLikelihood(Likelihood):
    """Independent binary pixels, the features are logits."""

    name = "bernoulli"

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) of binary x."""
        return dist.Bernoulli(logits=features.squeeze(-1 - event_dim)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Binary values only."""
        grey = ((x != 0) & (x != 1)).sum().item()
        if grey:
            raise DataError(
                f"likelihood 'bernoulli' needs binary data, but {grey} of {x.numel()} values lie strictly "
                "between 0 and 1 or outside: load the data with binarize='dynamic' (or 'threshold', "
                "'stochastic'), or ask for likelihood='bernoulli-relaxed', whose value is no log likelihood"
            )


class RelaxedBernoulliLikelihood(Likelihood):
    """The Bernoulli's formula x log p + (1 - x) log(1 - p) applied to grey x in [0, 1]: binary cross entropy.

    This is the usual "reconstruction loss" of tutorials. It is not normalised over [0, 1], so its value is
    no log likelihood and its ELBO is comparable only with others of the same kind.
    """

    name = "bernoulli-relaxed"
    is_density = False

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The Bernoulli whose mean is the decoded image; grey values pass its ``log_prob``."""
        logits = features.squeeze(-1 - event_dim)
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Values in [0, 1]."""
        _check_unit_interval(self.name, x)


class ContinuousBernoulliLikelihood(Likelihood):
    """The continuous Bernoulli on [0, 1], normalised (Loaiza-Ganem & Cunningham 2019)."""

    name = "continuous-bernoulli"

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) of x in [0, 1]."""
        logits = features.squeeze(-1 - event_dim)
        return dist.ContinuousBernoulli(logits=logits).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Values in [0, 1]."""
        _check_unit_interval(self.name, x)


class GaussianLikelihood(Likelihood):
    """p(x|z) = N(decoder(z), sigma^2), independent over coordinates.

    Args:
        sigma: a number (fixed), "learned" (one parameter shared by all coordinates, starting at
            ``initial_sigma``), or "per-pixel" (a second feature map, softplus, at least MIN_PIXEL_SCALE).
        initial_sigma: where a learned sigma starts.
    """

    name = "gaussian"

    def __init__(self, sigma: float | str = 1.0, initial_sigma: float = 1.0) -> None:
        super().__init__()
        if isinstance(sigma, str) and sigma not in ("learned", "per-pixel"):
            raise ModelError(f"sigma must be a positive number, 'learned' or 'per-pixel', got {sigma!r}")
        for value in (sigma, initial_sigma):
            if not isinstance(value, str) and not (value > 0 and math.isfinite(value)):
                raise ModelError(f"sigma must be a positive number, got {value}")
        # Plain floats, because a configuration is stored as JSON.
        self.sigma = sigma if isinstance(sigma, str) else float(sigma)
        self.initial_sigma = float(initial_sigma)
        self.num_parameters = 2 if sigma == "per-pixel" else 1
        if sigma == "learned":
            self.log_sigma = nn.Parameter(torch.tensor(math.log(self.initial_sigma)))

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) of real x."""
        loc = features.select(-1 - event_dim, 0)
        return dist.Normal(loc, self._scale(features, event_dim)).to_event(event_dim)

    def _scale(self, features: Tensor, event_dim: int) -> Tensor:
        if self.sigma == "per-pixel":
            return MIN_PIXEL_SCALE + softplus(features.select(-1 - event_dim, 1))
        if self.sigma == "learned":
            return self.log_sigma.exp()
        return features.new_tensor(self.sigma)

    def check(self, x: Tensor) -> None:
        """Any finite values."""
        _check_finite(self.name, x)

    @property
    def config(self) -> dict[str, Any]:
        """The name and options that make this likelihood again."""
        return {"name": self.name, "sigma": self.sigma, "initial_sigma": self.initial_sigma}


def _check_finite(name: str, x: Tensor) -> None:
    bad = (~torch.isfinite(x)).sum().item()
    if bad:
        raise DataError(f"likelihood {name!r}: {bad} of {x.numel()} values are NaN or infinite")


def _check_unit_interval(name: str, x: Tensor) -> None:
    _check_finite(name, x)
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise DataError(f"likelihood {name!r} needs data in [0, 1], found values from {low:g} to {high:g}")


LIKELIHOODS: Mapping[str, Callable[..., nn.Module]] = {
    kind.name: kind
    for kind in (
        BernoulliLikelihood,
        RelaxedBernoulliLikelihood,
        ContinuousBernoulliLikelihood,
        GaussianLikelihood,
    )
}


def likelihood(spec: str | Mapping[str, Any] | nn.Module) -> Likelihood:
    """The likelihood behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown, or the module is no Likelihood.
    """
    part = from_spec("likelihood", spec, LIKELIHOODS)
    if not isinstance(part, Likelihood):
        raise ModelError(f"likelihood must be a pv.models.Likelihood, got {type(part).__name__}")
    return part
