r"""A VAE as a chain of Gaussian levels under binary pixels: what bits-back coding asks of a model.

    q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_L-1)      p(x | z_1) p(z_1 | z_2) ... p(z_L-1 | z_L) N(z_L; 0, I)

A VAE is the chain with one level.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.models import VAE, HierarchicalVAE
from ppl_vae.models.likelihoods.likelihoods import BernoulliLikelihood
from ppl_vae.models.priors.priors import StandardNormalPrior

Gaussian = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LatentChain:
    """The conditionals of a model in double precision; its parameters are copies.

    Attributes:
        vae: the copy.
        dims: the dimensions of z_1, ..., z_L.
    """

    vae: VAE | HierarchicalVAE
    dims: tuple[int, ...]

    def posterior(self, level: int, below: Tensor) -> Gaussian:
        """The mean and scale of q(z_level | what lies below it), level from 0: [N, L_level] each."""
        if level == 0:
            return _loc_scale(self.vae.guide.encode(below))
        assert isinstance(self.vae, HierarchicalVAE)
        return _loc_scale(self.vae.guide.upward[level - 1](below))

    def prior(self, level: int, above: Tensor) -> Gaussian:
        """The mean and scale of p(z_level | z_level+1), level from 0."""
        assert isinstance(self.vae, HierarchicalVAE)
        return _loc_scale(self.vae.model.downward[level](above))

    def logits(self, z: Tensor) -> Tensor:
        """The logits of p(x | z_1): [N, *event_shape]."""
        base = self.vae.model.decode(z)
        assert isinstance(base, dist.Independent)
        return base.base_dist.logits


def latent_chain(vae: object) -> LatentChain:
    """The chain of a VAE or a hierarchical VAE.

    Raises:
        ModelError: another model, likelihood, prior or posterior; the part is named.
    """
    if not isinstance(vae, VAE | HierarchicalVAE):
        raise ModelError(f"bits-back coding takes a VAE or a HierarchicalVAE, got a {type(vae).__name__}")
    if not isinstance(vae.model.likelihood, BernoulliLikelihood):
        raise ModelError(
            f"bits-back coding takes binary pixels, likelihood 'bernoulli', got {vae.model.likelihood.name!r}"
        )
    if type(vae.model.prior) is not StandardNormalPrior:
        raise ModelError(f"bits-back coding takes the prior 'standard', got a {type(vae.model.prior).__name__}")
    own = copy.deepcopy(vae).cpu().double().eval().requires_grad_(False)
    dims = (own.latent_dim,) if isinstance(own, VAE) else own.latent_dims
    chain = LatentChain(own, dims)
    like = next(own.parameters())
    below = torch.zeros(2, *own.event_shape, dtype=like.dtype)
    for level in range(len(dims)):
        below = chain.posterior(level, below)[0]
    return chain


def _loc_scale(q: dist.TorchDistribution) -> Gaussian:
    try:
        return diagonal_loc_scale(q)
    except NotImplementedError:
        raise ModelError(f"bits-back coding takes diagonal Gaussian conditionals, got {q}") from None
