"""A category y beside a continuous code z: what the joint, the conditional and the semi-supervised VAE share.

    y ~ Categorical(1/C, ..., 1/C),   z ~ p(z), or z ~ p(z|y),   x ~ p(x | decoder(y, z))

The decoder reads the one-hot category, and the code behind it.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer, truth
from ppl_vae.exclusive import exclusive
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import checked_code, one_for_each, one_hot
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.program_pair import ProgramPair, on_request
from ppl_vae.models.programs import ObservedProgram, num_features
from ppl_vae.networks import MLP
from ppl_vae.precision import widened
from ppl_vae.renamed import renamed


class CategoryAndCode(ObservedProgram, ABC):
    """The generative model p(y) p(z|y) p(x|y, z) with p(y) uniform, whatever its program is given beside x.

    Args:
        num_categories: C.
        prior: forward gives p(z); or p(z|y) of one-hot y, where it is a Conditional.
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
        """Draw y, uniform, and z: [*batch, C + L]."""
        return self.latents_of(pyro.sample("y", dist.OneHotCategorical(logits=widened(self.logits))))

    def latents_of(self, y: Tensor) -> Tensor:
        """Draw z of one-hot categories [*batch, C], behind which it stands: [*batch, C + L]."""
        z = pyro.sample("z", self.code(y))
        return torch.cat([y.expand(*z.shape[:-1], -1), z], -1)

    def code(self, y: Tensor) -> dist.TorchDistribution:
        """The prior p(z), or p(z|y) of one-hot categories [*batch, C]: event shape [L]."""
        return self.prior(y) if isinstance(self.prior, Conditional) else self.prior()


class CategoryAndCodePair(ProgramPair):
    """A pair with such a model: what it decodes and draws, given categories.

    Attributes:
        latent_dim: L.
    """

    model: CategoryAndCode
    latent_dim: int

    @on_request
    def decode(self, z: Array, y: Array) -> dist.TorchDistribution:
        """The likelihood p(x|y, z) of codes [*batch, L] and categories: integer [*batch] or one-hot [*batch, C]."""
        codes = checked_code(self.to_own(z), self.latent_dim)
        category = one_hot(to_tensor(y, "y").to(codes.device), len(self.model.logits), codes)
        return self.model.decode(torch.cat([category, codes], -1))

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def sample(self, num_samples: int, with_noise: bool = False, y: Array | None = None) -> Tensor:
        """The mean of p(x|y, z) at draws of z, and of y where it is not given: [num_samples, *event_shape].

        Args:
            num_samples: how many.
            with_noise: draw x itself.
            y: their categories, one for all or [num_samples].

        Draws come from torch's global generator.
        """
        if y is None:
            return super().sample(num_samples, with_noise)
        logits = self.model.logits
        categories = one_for_each(to_tensor(y, "y").to(logits.device), integer("num_samples", num_samples))
        code = one_hot(categories, len(logits), logits.expand(len(categories), -1))
        with pyro.poutine.block(), pyro.plate("data", len(categories)):
            likelihood = self.model.decode(self.model.latents_of(code))
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean


def code_given_category(
    encoder: nn.Module,
    event_shape: tuple[int, ...],
    num_categories: int,
    hidden: Sequence[int],
    family: nn.Module,
    latent_dim: int,
) -> Conditional:
    """The guide's q(z|x, y), of the encoder's features [B, H] with one-hot y behind them [B, H + C].

    Args:
        encoder: [B, *event_shape] -> [B, H].
        event_shape: the shape of one datum.
        num_categories: C.
        hidden: the hidden layers between.
        family: features -> distribution with event shape [L], not built yet.
        latent_dim: L.
    """
    size = num_features(encoder, event_shape) + num_categories
    return Conditional(MLP(tuple(hidden)).encoder((size,)), family, size, latent_dim)
