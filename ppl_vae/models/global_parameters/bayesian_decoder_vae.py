r"""A decoder whose weights have a prior and a posterior (Kingma & Welling 2014, appendix F).

    model:  s_l ~ LogNormal(0, 2)  (with ard),   w ~ N(0, diag v(s)),   z_n ~ N(0, I),   x_n ~ p(x | decoder_w(z_n))
    guide:  q(s) log-normal,  q(w) Gaussian, both with independent coordinates;   z_n ~ q(z | encoder(x_n))

The sites "weights" and "scales" are global: they stand outside the data plate, and the ELBO of all data has their
divergence once. v is 1 / (number of inputs) of a layer. With ``ard`` the weights of latent dimension l in the first
layer are multiplied by s_l in the prior's scale, so that dimensions that the data do not need are turned off
(automatic relevance determination: Bishop 1999); a decoder of one layer is then factor analysis.

Kingma & Welling (2014): https://arxiv.org/abs/1312.6114; Bishop (1999), "Variational principal components"
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import torch
from numpy.typing import ArrayLike
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import truth
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import ObservedProgram, Recognition, num_features
from ppl_vae.precision import widened
from ppl_vae.randomness import seeded
from ppl_vae.registration import register

SCALE_PRIOR = 0.0, 2.0
FIRST_LOG_SCALE = -3.0


class WeightedMLP(nn.Module):
    """A perceptron of tanh layers that is given its weights, one vector for all layers.

    Args:
        sizes: of the input, of the hidden layers and of the output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    @property
    def num_weights(self) -> int:
        """The number of weights and biases of all layers."""
        return sum((low + 1) * high for low, high in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def prior_scale(self, scales: Tensor) -> Tensor:
        """The standard deviation of every weight [*batch, P], with ``scales`` [*batch, L] of the inputs'."""
        parts = []
        for index, (low, high) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            of_inputs = scales if index == 0 else torch.ones_like(scales[..., :1]).expand(*scales.shape[:-1], low)
            parts.append((of_inputs / math.sqrt(low)).repeat_interleave(high, -1))
            parts.append(torch.ones_like(scales[..., :1]).expand(*scales.shape[:-1], high))
        return torch.cat(parts, -1)

    def forward(self, z: Tensor, weights: Tensor) -> Tensor:
        """Decode z [*batch, N, L] under weights [P], or [*batch, 1, P] of several draws: [*batch, N, O]."""
        if weights.dim() > 1:
            weights = weights.squeeze(-2)
        start, last = 0, len(self.sizes) - 2
        for index, (low, high) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            matrix = weights[..., start : start + low * high].unflatten(-1, (low, high))
            bias = weights[..., start + low * high : start + (low + 1) * high].unsqueeze(-2)
            z, start = z @ matrix + bias, start + (low + 1) * high
            z = z if index == last else z.tanh()
        return z


class BayesianDecoderProgram(ObservedProgram):
    """The program p(s) p(w | s) prod_n p(z_n) p(x_n | z_n, w).

    Args:
        decoder: given its weights.
        likelihood: features -> p(x|z).
        event_shape: the shape of one datum.
        ard: whether the inputs' weights have scales of their own.
    """

    decoder: WeightedMLP

    def __init__(
        self, decoder: WeightedMLP, likelihood: Likelihood, event_shape: tuple[int, ...], ard: bool
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.ard = ard
        self.register_buffer("unit", torch.ones(decoder.sizes[0]))
        self.unit: Tensor

    def weights(self) -> Tensor:
        """Draw the global sites, and return the weights [*batch, P]."""
        loc, spread = (torch.full_like(self.unit, value) for value in SCALE_PRIOR)
        scales = pyro.sample("scales", dist.LogNormal(loc, spread).to_event(1)) if self.ard else self.unit
        scale = self.decoder.prior_scale(scales)
        return pyro.sample("weights", dist.Normal(torch.zeros_like(scale), scale).to_event(1))

    def latents(self) -> Tensor:
        """Draw z ~ N(0, I) [*batch, latent_dim], inside the data plate."""
        return pyro.sample("z", dist.Normal(torch.zeros_like(self.unit), 1.0).to_event(1))

    def decoded(self, z: Tensor, weights: Tensor) -> Tensor:
        """The features [*batch, N, P, *event_shape] of z under given weights."""
        features = widened(self.decoder(z, weights))
        return features.unflatten(-1, (self.likelihood.num_parameters, *self.event_shape))

    def forward(self, x: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, conditioned on x [N, *event_shape] or drawing ``size`` data from the prior predictive.

        Raises:
            ModelError: neither x nor size is given, or x has another event shape.
        """
        size = self.size_of(x, size)
        register(self._name, self)
        weights = self.weights()
        with pyro.plate("data", size):
            features = self.decoded(self.latents(), weights)
            if x is None:
                return pyro.sample("x", self.likelihood(features, len(self.event_shape)))
            x = widened(x)
            return pyro.sample("x", self.likelihood.adapt(features, x, len(self.event_shape)), obs=x)


class BayesianDecoderGuide(Recognition):
    """The guide q(s) q(w) prod_n q(z_n | x_n).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        posterior: features -> q(z|x).
        decoder: whose weights they are.
        event_shape: the shape of one datum.
        ard: whether there are scales.
        allows_missing: as of ``Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        decoder: WeightedMLP,
        event_shape: tuple[int, ...],
        ard: bool,
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.posterior, self.ard = posterior, ard
        prior = decoder.prior_scale(torch.ones(decoder.sizes[0]))
        self.weight_loc = nn.Parameter(prior * torch.randn(len(prior)))
        self.weight_log_scale = nn.Parameter(torch.full((len(prior),), FIRST_LOG_SCALE))
        if ard:
            self.scale_loc = nn.Parameter(torch.zeros(decoder.sizes[0]))
            self.scale_log_scale = nn.Parameter(torch.full((decoder.sizes[0],), FIRST_LOG_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws the global sites and z [N, latent_dim]."""
        size = self.begin(x)
        if self.ard:
            pyro.sample("scales", dist.LogNormal(self.scale_loc, self.scale_log_scale.exp()).to_event(1))
        pyro.sample("weights", dist.Normal(self.weight_loc, self.weight_log_scale.exp()).to_event(1))
        with pyro.plate("data", size):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape]."""
        return self.posterior(self.features(x))


class BayesianDecoderVAE(ProgramPair):
    """A VAE whose decoder's weights are global latent sites; with ``ard`` and no hidden layer, factor analysis.

    ``decode`` and ``reconstruct`` take the weights at the guide's mean; ``sample`` draws them from the guide.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L.
        hidden: the sizes of the decoder's hidden layers.
        ard: whether each latent dimension has a scale of its own.
        network: whose encoder is taken.
        likelihood: as of VAE.
        posterior: q(z|x), as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "bayesian-decoder"
    model: BayesianDecoderProgram
    guide: BayesianDecoderGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 2,
        hidden: Sequence[int] = (32,),
        ard: bool = False,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        family = self.infer(posterior)
        outputs = observed.num_parameters * math.prod(self.event_shape)
        decoder = WeightedMLP((self.latent_dim, *(checked_size("hidden", size) for size in hidden), outputs))
        with seeded(seed):
            encoder, _ = self.networks(network, self.latent_dim, observed)
            self.model = BayesianDecoderProgram(decoder, observed, self.event_shape, ard)
            made = built(family, num_features(encoder, self.event_shape), self.latent_dim)
            self.guide = BayesianDecoderGuide(
                encoder, made, decoder, self.event_shape, ard, observed.allows_missing
            )

    @on_request
    def encode(self, x: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) for data [N, *event_shape]: batch shape [N], event shape [latent_dim]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The likelihood p(x|z) of codes [N, latent_dim] under the weights at the guide's mean."""
        features = self.model.decoded(self.to_own(z), self.guide.weight_loc)
        return self.model.likelihood(features, len(self.event_shape))

    @torch.no_grad()
    def reconstruct(self, x: ArrayLike | Tensor) -> Tensor:
        """The mean of p(x|z) at the guide's means of z and of the weights: [N, *event_shape]."""
        return self.decode(self.encode(x).mean).mean

    @torch.no_grad()
    def sample(self, num_samples: int, with_noise: bool = False) -> Tensor:
        """The mean of p(x|z) [num_samples, *event_shape] at prior draws of z under one draw of q(w); or x itself.

        Draws come from torch's global generator.
        """
        scale = self.guide.weight_log_scale.exp()
        weights = self.guide.weight_loc + scale * torch.randn_like(scale)
        z = torch.randn(checked_size("num_samples", num_samples), self.model.unit.shape[0]).to(self.model.unit)
        likelihood = self.model.likelihood(self.model.decoded(z, weights), len(self.event_shape))
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean
