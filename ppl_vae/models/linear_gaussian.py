r"""The linear-Gaussian VAE, probabilistic PCA: everything about it is known exactly.

    z ~ N(0, I_L),   x | z ~ N(W z + b, sigma^2 I_D),   W in R^{D x L}

With A = W'W / sigma^2, M = A + I and h = W'(x - b) / sigma^2 (Tipping & Bishop 1999):

    log p(x)  = -1/2 [ D log 2 pi sigma^2 + log det M + |x - b|^2 / sigma^2 - h' M^-1 h ]
    p(z | x)  = N(M^-1 h, M^-1)
    ELBO(q)   = -D/2 log 2 pi sigma^2 - (|x - b - W mu|^2 + tr(W S W')) / (2 sigma^2) - KL(N(mu, S) || N(0, I))

The best diagonal guide has mean M^-1 h and variances 1 / M_jj (the optimum of the reverse KL). This model is
the judge of estimators and diagnostics.

Tipping & Bishop (1999): https://doi.org/10.1111/1467-9868.00196
Lucas, Tucker, Grosse & Norouzi (2019): https://arxiv.org/abs/1911.02469
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.kl import is_gaussian, kl_divergence
from ppl_vae.models.configuration import Config, Plain, own_config
from ppl_vae.models.likelihoods.real import GaussianLikelihood
from ppl_vae.models.posteriors.posteriors import POSTERIORS
from ppl_vae.models.posteriors.posteriors import posterior as make_posterior
from ppl_vae.models.program_pair import checked_size
from ppl_vae.models.protocols import Posterior
from ppl_vae.models.vae import VAE
from ppl_vae.precision import scale
from ppl_vae.renamed import by_keyword

Guide = Literal["mean-field", "exact"]
# In which the closed forms can be solved.
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class LinearGaussianPosterior(nn.Module):
    """The posterior q(z|x) = N(gain x + offset, S) with one S for all data: diagonal, or a full lower triangle.

    The features are x itself. Parameters: ``gain`` [L, D], ``offset`` [L], and ``log_scale`` [L] or
    ``scale_tril`` [L, L].
    """

    def __init__(self, guide: Guide, event_dim: int, latent_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(latent_dim, event_dim, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(latent_dim, dtype=dtype))
        if guide == "exact":
            self.scale_tril = nn.Parameter(torch.eye(latent_dim, dtype=dtype))
        else:
            self.log_scale = nn.Parameter(torch.zeros(latent_dim, dtype=dtype))
        self.guide = guide

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, D]."""
        loc = nn.functional.linear(features, self.gain, self.offset)
        if self.guide == "exact":
            return dist.MultivariateNormal(loc, scale_tril=self.scale_tril)
        return dist.Normal(loc, scale(self.log_scale)).to_event(1)

    @torch.no_grad()
    def set_to_optimum(self, weight: Tensor, bias: Tensor, sigma: Tensor) -> None:
        """The best member of the family for p(z|x), in closed form."""
        precision = _precision(weight, sigma)
        gain = torch.linalg.solve(precision, weight.mT / sigma.square())
        self.gain.copy_(gain)
        self.offset.copy_(-gain @ bias)
        if self.guide == "exact":
            self.scale_tril.copy_(torch.linalg.cholesky(torch.linalg.inv(precision)))
        else:
            self.log_scale.copy_(-0.5 * precision.diagonal().log())


class LinearGaussianVAE(VAE):
    """Probabilistic PCA as a VAE, with its exact evidence, posterior and ELBO.

    Args:
        weight: W [D, L].
        bias: b [D].
        sigma: the standard deviation of the noise, a number.
        guide: "mean-field" (the best diagonal guide), "exact" (p(z|x) itself), or a Gaussian posterior
            module of the features x.
        seed: of the initial weights of a posterior module.

    W, b and log sigma are Parameters in the dtype of ``weight``. A closed-form guide is computed from their
    values now, and anew by ``reset_guide``.

    Raises:
        ModelError: shapes that do not fit, or an unknown guide.

    At the exact posterior the ELBO is the evidence:

    >>> lg = LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> lg.log_evidence(torch.zeros(2, 3)).tolist() == lg.elbo(torch.zeros(2, 3)).tolist()
    True
    """

    @by_keyword("seed")
    def __init__(
        self,
        weight: Array,
        bias: Array,
        sigma: float | Tensor,
        guide: Guide | nn.Module = "mean-field",
        *,
        seed: int | None = 0,
    ) -> None:
        w = torch.as_tensor(weight).detach()
        b, sd = (
            torch.as_tensor(bias, dtype=w.dtype).detach(),
            float(sigma.detach() if isinstance(sigma, Tensor) else sigma),
        )
        _check(w, b, sd, guide)
        decoder = nn.Linear(w.shape[1], w.shape[0], dtype=w.dtype)
        likelihood = GaussianLikelihood("learned", initial_sigma=sd)
        posterior = (
            guide
            if isinstance(guide, nn.Module)
            else LinearGaussianPosterior(guide, w.shape[0], w.shape[1], w.dtype)
        )
        super().__init__(
            event_shape=(w.shape[0],),
            latent_dim=w.shape[1],
            network=(nn.Identity(), decoder),
            likelihood=likelihood,
            posterior=posterior,
            seed=seed,
        )
        self.to(dtype=w.dtype)
        with torch.no_grad():
            decoder.weight.copy_(w)
            decoder.bias.copy_(b)
            likelihood.log_sigma.copy_(torch.tensor(sd, dtype=torch.float64).log())
        self.reset_guide()

    @property
    def config(self) -> Config:
        """The sizes, precision and guide that ``load`` builds the model from; W, b and sigma are weights."""
        posterior = self.guide.posterior
        guide: Plain
        if isinstance(posterior, LinearGaussianPosterior):
            guide = posterior.guide
        else:
            guide = own_config(posterior, POSTERIORS)
        return {
            "model": "linear-gaussian",
            "event_shape": list(self.event_shape),
            "latent_dim": self.latent_dim,
            "dtype": str(self.weight.dtype).removeprefix("torch."),
            "guide": guide,
        }

    @classmethod
    def from_config(
        cls, event_shape: list[int], latent_dim: int, dtype: str, guide: Guide | dict[str, object] | nn.Module
    ) -> LinearGaussianVAE:
        """The model that a stored configuration describes, before its weights are restored.

        Raises:
            ModelError: a size or the dtype is not possible.
        """
        if dtype not in PRECISIONS or not isinstance(event_shape, list) or len(event_shape) != 1:
            raise ModelError(
                f"expected event_shape [D] and dtype of {', '.join(PRECISIONS)}, got {event_shape!r} and {dtype!r}"
            )
        size, kind = checked_size("event_shape", event_shape[0]), PRECISIONS[dtype]
        latent_dim = checked_size("latent_dim", latent_dim)
        guide = make_posterior(guide) if isinstance(guide, dict) else guide
        return cls(torch.zeros(size, latent_dim, dtype=kind), torch.zeros(size, dtype=kind), 1.0, guide)

    @property
    def weight(self) -> Tensor:
        """The weight matrix W [D, L]."""
        return self._decoder.weight

    @property
    def bias(self) -> Tensor:
        """The offset b [D]."""
        return self._decoder.bias

    @property
    def sigma(self) -> Tensor:
        """The standard deviation of the noise, a 0-d tensor."""
        return scale(self._likelihood.log_sigma)

    @property
    def _decoder(self) -> nn.Linear:
        return cast(nn.Linear, self.model.decoder)

    @property
    def _likelihood(self) -> GaussianLikelihood:
        return cast(GaussianLikelihood, self.model.likelihood)

    def reset_guide(self) -> None:
        """Compute a closed-form guide anew from the present W, b and sigma; another module is left alone."""
        if isinstance(self.guide.posterior, LinearGaussianPosterior):
            self.guide.posterior.set_to_optimum(self.weight, self.bias, self.sigma)

    def log_evidence(self, x: Array) -> Tensor:
        """The exact log evidence log p(x), per datum: [N], nats."""
        residual = self.own_data(x) - self.bias
        precision = _precision(self.weight, self.sigma)
        h = residual @ self.weight / self.sigma.square()
        explained = (h * torch.linalg.solve(precision, h.mT).mT).sum(-1)
        log_noise = len(self.bias) * (math.log(2 * math.pi) + 2 * self.sigma.log())
        distance = (residual / self.sigma).square().sum(-1)
        return -0.5 * (log_noise + torch.linalg.slogdet(precision).logabsdet + distance - explained)

    def posterior(self, x: Array) -> dist.MultivariateNormal:
        """The exact posterior p(z|x): batch shape [N], event shape [L]."""
        residual = self.own_data(x) - self.bias
        precision = _precision(self.weight, self.sigma)
        h = residual @ self.weight / self.sigma.square()
        return dist.MultivariateNormal(torch.linalg.solve(precision, h.mT).mT, precision_matrix=precision)

    def elbo(self, x: Array) -> Tensor:
        """The exact ELBO of the present guide, per datum: [N], nats.

        Raises:
            ModelError: the guide is no Gaussian, under which alone it has a closed form.
        """
        q = self.guide.encode(self.own_data(x))
        if not is_gaussian(q):
            name = declared(Posterior, self.guide.posterior).name or type(q).__name__
            raise ModelError(
                f"posterior {name!r}: the ELBO has a closed form under a Gaussian alone; pv.evaluate estimates it"
            )
        residual = self.to_own(x) - self.bias - q.mean @ self.weight.mT
        spread = (_covariance(q) * (self.weight.mT @ self.weight)).sum((-2, -1))
        variance = self.sigma.square()
        log_likelihood = -0.5 * (
            len(self.bias) * (2 * math.pi * variance).log() + (residual.square().sum(-1) + spread) / variance
        )
        return log_likelihood - kl_divergence(q, self.model.prior())


def _precision(weight: Tensor, sigma: Tensor) -> Tensor:
    """The posterior precision M = W'W / sigma^2 + I [L, L]."""
    return weight.mT @ weight / sigma.square() + torch.eye(
        weight.shape[1], dtype=weight.dtype, device=weight.device
    )


def _covariance(q: dist.TorchDistribution) -> Tensor:
    if isinstance(q, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        return q.covariance_matrix
    return torch.diag_embed(q.variance)


def _check(weight: Tensor, bias: Tensor, sigma: float, guide: object) -> None:
    fits = weight.dim() == 2 and weight.numel() > 0 and bias.shape == weight.shape[:1]
    if not (fits and weight.is_floating_point()):
        raise ModelError(
            f"weight must be a float matrix [D, L] and bias [D], got {list(weight.shape)} and {list(bias.shape)}"
        )
    if not sigma > 0:
        raise ModelError(f"sigma must be positive, got {sigma}")
    if not isinstance(guide, nn.Module) and guide not in ("mean-field", "exact"):
        raise ModelError(f"guide must be 'mean-field', 'exact' or a posterior module, got {guide!r}")
