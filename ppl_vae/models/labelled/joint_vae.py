r"""A VAE with a category and a continuous code, independent of each other (Dupont 2018).

    model:  y ~ Categorical(1/C, ..., 1/C),   z ~ N(0, I),   x ~ p(x | decoder(y, z))
    guide:  y ~ Categorical(softmax(logits(x))),   z ~ q(z|x)

The category is to hold what comes in kinds (which digit), the code what varies within them (slant, width). Sites:
"y", one-hot with event shape [C], and "z". The category is drawn first, so that it can be summed out:
``inf.Enumeration(vae.num_configurations)``; ``inf.GumbelSoftmax`` relaxes it as in the paper.

Dupont (2018): https://arxiv.org/abs/1804.00104
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from numpy.typing import ArrayLike
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import to_tensor
from ppl_vae.models.conditional import built
from ppl_vae.models.gradients import on_request
from ppl_vae.models.labelled.category import checked_code, likeliest, one_hot
from ppl_vae.models.likelihoods.likelihoods import Likelihood
from ppl_vae.models.likelihoods.likelihoods import likelihood as make_likelihood
from ppl_vae.models.parts import own_config
from ppl_vae.models.posteriors.posteriors import POSTERIORS
from ppl_vae.models.posteriors.posteriors import posterior as make_posterior
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import (
    Network,
    ProgramPair,
    checked_shape,
    checked_size,
    likelihood_config,
    network_config,
    networks,
)
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.precision import widened
from ppl_vae.randomness import seeded


class JointProgram(LatentVariableProgram):
    """The program p(y) p(z) p(x|y, z) with p(y) uniform.

    Args:
        num_categories: C.
        prior: forward gives p(z).
        decoder: [B, C + L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|y, z).
        event_shape: the shape of one datum.
    """

    logits: Tensor

    def __init__(
        self,
        num_categories: int,
        prior: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior
        self.register_buffer("logits", torch.zeros(num_categories), persistent=False)

    def latents(self) -> Tensor:
        """Draw y ~ p(y) and z ~ p(z), one behind the other: [*batch, C + L]."""
        y = pyro.sample("y", dist.OneHotCategorical(logits=widened(self.logits)))
        z = pyro.sample("z", self.prior())
        return torch.cat([y, z], -1)


class JointGuide(Recognition):
    """The guide q(y|x) q(z|x).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_categories: C.
        posterior: features -> q(z|x).
        event_shape: the shape of one datum.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_categories: int,
        posterior: nn.Module,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.category_head = nn.Linear(num_features(encoder, event_shape), num_categories)
        self.posterior = posterior

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws y, then z."""
        with pyro.plate("data", self.begin(x)):
            features = self.features(x)
            pyro.sample("y", dist.OneHotCategorical(logits=widened(self.category_head(features))))
            return pyro.sample("z", self.posterior(features))


class JointVAE(ProgramPair):
    """A VAE with a category "y" and a continuous code "z".

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        num_categories: C.
        network: as of VAE; a decoder of the user's own maps [B, C + L].
        likelihood: as of VAE.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    model: JointProgram
    guide: JointGuide

    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_categories: int = 10,
        network: Network = "mlp",
        likelihood: str | dict[str, Any] | Likelihood = "bernoulli",
        posterior: str | dict[str, Any] | nn.Module = "diagonal",
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.event_shape = shape = checked_shape(event_shape)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_categories = checked_size("num_categories", num_categories)
        observed, family, prior = make_likelihood(likelihood), make_posterior(posterior), StandardNormalPrior()
        with seeded(seed):
            encoder, decoder = networks(network, shape, self.num_categories + self.latent_dim, observed)
            built(family, num_features(encoder, shape), self.latent_dim)
            prior.build(self.latent_dim)
            self.model = JointProgram(self.num_categories, prior, decoder, observed, shape)
            self.guide = JointGuide(encoder, self.num_categories, family, shape, observed.allows_missing)
        self.config = {
            "model": "joint",
            "event_shape": list(shape),
            "latent_dim": self.latent_dim,
            "num_categories": self.num_categories,
            "network": network_config(network),
            "likelihood": likelihood_config(observed),
            "posterior": own_config(family, POSTERIORS),
        }

    @property
    def num_configurations(self) -> int:
        """The number C of configurations that an exact enumeration sums over."""
        return self.num_categories

    @on_request
    def encode(self, x: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) for data [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.guide.posterior(self.guide.features(self.own_data(x)))

    def categories(self, x: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The posterior q(y|x) for data [N, *event_shape]: batch shape [N], event shape [C]."""
        return dist.OneHotCategorical(
            logits=widened(self.guide.category_head(self.guide.features(self.own_data(x))))
        )

    @on_request
    def decode(self, z: ArrayLike | Tensor, y: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The likelihood p(x|y, z) of codes [*batch, L] and categories: integer [*batch] or one-hot [*batch, C]."""
        codes = checked_code(self.to_own(z), self.latent_dim)
        category = one_hot(to_tensor(y, "y").to(codes.device), self.num_categories, codes)
        return self.model.decode(torch.cat([category, codes], -1))

    @torch.no_grad()
    def reconstruct(self, x: ArrayLike | Tensor) -> Tensor:
        """The mean of p(x|y, z) at the guide's likeliest category and its mean of z: [N, *event_shape]."""
        return self.decode(self.encode(x).mean, likeliest(self.categories(x))).mean
