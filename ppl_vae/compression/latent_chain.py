r"""A VAE as a chain of Gaussian levels under binary pixels: what bits-back coding asks of a model.

    q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_L-1)      p(x | z_1) p(z_1 | z_2) ... p(z_L-1 | z_L) N(z_L; 0, I)

A VAE is the chain with one level.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.compression.exact_layers import BinaryLinear
from ppl_vae.compression.fixed_point import ELEMENTWISE
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
        reads_bits: whether the encoder begins with a layer that is exact for zeros and ones of any precision.
    """

    vae: VAE | HierarchicalVAE
    dims: tuple[int, ...]
    reads_bits: bool

    def posterior(self, level: int, below: Tensor) -> Gaussian:
        """The mean and scale of q(z_level | what lies below it), level from 0: [N, L_level] each."""
        if level == 0:
            return _loc_scale(self.vae.guide.encode(below if self.reads_bits else below.double()))
        assert isinstance(self.vae, HierarchicalVAE)
        return _loc_scale(self.vae.guide.upward[level - 1](below))

    def prior(self, level: int, above: Tensor) -> Gaussian:
        """The mean and scale of p(z_level | z_level+1), level from 0."""
        assert isinstance(self.vae, HierarchicalVAE)
        return _loc_scale(self.vae.model.downward[level](above))

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer that gives the logits, where the decoder ends in one."""
        decoder = self.vae.model.decoder
        return decoder[-1] if type(decoder) is nn.Sequential and _is_plain(decoder[-1]) else None

    @property
    def activation(self) -> nn.Module | None:
        """The elementwise layer before the head, if there is one."""
        decoder = self.vae.model.decoder
        assert isinstance(decoder, nn.Sequential)
        return decoder[-2] if len(decoder) > 1 and _is_elementwise(decoder[-2]) else None

    def arguments(self, z: Tensor) -> Tensor:
        """Compute the input [N, H] of that layer, or of the head where there is none."""
        decoder = self.vae.model.decoder
        assert isinstance(decoder, nn.Sequential)
        for layer in list(decoder)[: -1 if self.activation is None else -2]:
            z = layer(z)
        return z

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
    own = copy.deepcopy(vae, _doubled(vae)).eval()
    if not all(np.isfinite(parameter.numpy()).all() for parameter in own.parameters()):
        raise ModelError("bits-back coding takes a model of finite weights, and some are NaN or infinite")
    dims = (own.latent_dim,) if isinstance(own, VAE) else own.latent_dims
    chain = LatentChain(own, dims, _with_binary_layer(own.guide.encoder))
    like = next(own.parameters())
    below = torch.zeros(2, *own.event_shape, dtype=like.dtype)
    for level in range(len(dims)):
        below = chain.posterior(level, below)[0]
    return chain


def _doubled(module: nn.Module) -> dict[int, object]:
    """Give what a copy of a module has for its tensors, by their identity: double precision, no gradient."""
    memo: dict[int, object] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        # A clone, since what is in double precision already would be the user's own.
        own = tensor.detach().cpu().clone()
        own = own.double() if own.is_floating_point() else own
        memo[id(tensor)] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own
    return memo


def _with_binary_layer(encoder: nn.Module) -> bool:
    """Have an encoder's first layer exact for zeros and ones, if it is a linear one of the data as they are."""
    if type(encoder) is not nn.Sequential:
        return False
    place = next((place for place, layer in enumerate(encoder) if type(layer) is not nn.Flatten), -1)
    if place < 0 or not _is_plain(layer := encoder[place]):
        return False
    behind = encoder[place + 1] if place + 1 < len(encoder) else None
    if behind is None or not _is_elementwise(behind):
        encoder[place] = BinaryLinear(layer)
    else:
        encoder[place], encoder[place + 1] = BinaryLinear(layer, behind), nn.Identity()
    return True


def _is_unhooked(layer: nn.Module) -> bool:
    """Tell whether nothing is called before or after a layer, which may change its weights or what it gives."""
    return not layer._forward_pre_hooks and not layer._forward_hooks


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether a layer is a linear one and no more."""
    return type(layer) is nn.Linear and _is_unhooked(layer)


def _is_elementwise(layer: nn.Module) -> bool:
    """Tell whether a layer works number by number and no more."""
    return type(layer) in ELEMENTWISE and _is_unhooked(layer)


def _loc_scale(q: dist.TorchDistribution) -> Gaussian:
    try:
        return diagonal_loc_scale(q)
    except NotImplementedError:
        raise ModelError(f"bits-back coding takes diagonal Gaussian conditionals, got {q}") from None
