r"""A VAE with a category and a continuous code, independent of each other (Dupont 2018).

    model:  y ~ Categorical(1/C, ..., 1/C),   z ~ N(0, I),   x ~ p(x | decoder(y, z))
    guide:  y ~ Categorical(softmax(logits(x))),   z ~ q(z|x)

The category is to hold what comes in kinds (which digit), the code what varies within them (slant, width). Sites:
"y", one-hot with event shape [C], and "z". The category is drawn first, so that it can be summed out:
``inf.Enumeration(vae.num_configurations)``; ``inf.GumbelSoftmax`` relaxes it as in the paper.

Dupont (2018): https://arxiv.org/abs/1804.00104
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.labelled.category import likeliest
from ppl_vae.models.labelled.category_and_code import CategoryAndCode, CategoryAndCodePair
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.precision import widened
from ppl_vae.randomness import seeded


class JointProgram(CategoryAndCode, LatentVariableProgram):
    """The program p(y) p(z) p(x|y, z) with p(y) uniform; its arguments are those of ``CategoryAndCode``."""


class JointGuide(Recognition):
    """The guide q(y|x) q(z|x).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_categories: C.
        posterior: features -> q(z|x).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
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


class JointVAE(CategoryAndCodePair):
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

    kind = "joint"
    latent_dim: int
    model: JointProgram
    guide: JointGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_categories: int = 10,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_categories = checked_size("num_categories", num_categories)
        family, prior = self.infer(posterior), StandardNormalPrior()
        with seeded(seed):
            encoder, decoder = self.networks(network, self.num_categories + self.latent_dim, observed)
            built(family, num_features(encoder, shape), self.latent_dim)
            prior.build(self.latent_dim)
            self.model = JointProgram(self.num_categories, prior, decoder, observed, shape)
            self.guide = JointGuide(encoder, self.num_categories, family, shape, observed.allows_missing)

    @property
    def num_configurations(self) -> int:
        """The number C of configurations that an exact enumeration sums over."""
        return self.num_categories

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) for data [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.guide.posterior(self.guide.features(self.own_data(x)))

    def categories(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(y|x) for data [N, *event_shape]: batch shape [N], event shape [C]."""
        return dist.OneHotCategorical(
            logits=widened(self.guide.category_head(self.guide.features(self.own_data(x))))
        )

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|y, z) at the guide's likeliest category and its mean of z: [N, *event_shape]."""
        return self.decode(self.encode(x).mean, likeliest(self.categories(x))).mean
