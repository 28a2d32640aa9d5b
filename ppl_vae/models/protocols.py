"""The optional attributes of a model's parts, besides their forward, with the default of each.

A prior is any nn.Module whose forward gives p(z), a posterior one whose forward turns features into q(z|x). A
part of a user's needs no more than that and inherits nothing; where it has one of the attributes below, it is used.
They are read by ``declared(Prior, part)``. A likelihood inherits from ``likelihoods.base.Likelihood``, which holds
its defaults; the optional attributes of a whole program are those that inference reads,
``inference.pair.protocols.Traits``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.spaces import EUCLIDEAN, Space


def nothing(*_: object) -> None:
    """Do nothing: the method of a part that has no need of it."""


def unrefined(q: dist.TorchDistribution, x: Tensor) -> dist.TorchDistribution:
    """q as the encoder gave it."""
    return q


@dataclass(frozen=True)
class Prior:
    """The optional attributes of a prior p(z).

    Attributes:
        build: make the parameters, from latent_dim.
        attach: take a look at the guide and the event shape, as a VampPrior has to.
        initialise: start the parameters from data [N, *event_shape].
        space: where its draws lie.
    """

    build: Callable[[int], None] = nothing
    attach: Callable[[nn.Module, tuple[int, ...]], None] = nothing
    initialise: Callable[[Tensor], None] = nothing
    space: Space = EUCLIDEAN


@dataclass(frozen=True)
class Posterior:
    """The optional attributes of a posterior q(z|x).

    Attributes:
        build: make the heads, from the number of features and latent_dim.
        attach: take the generative program, as a semi-amortised posterior has to; such a one cannot stand between
            two latents.
        refine: q(z|x) again, nearer to the posterior, from q and x [N, *event_shape].
        name: its name in messages; None is the name of the class.
        loc_head: the layer that gives the location, a group of parameters of its own in comparisons.
        scale_head: likewise, the layer that gives the scale.
        invertible: whether log q(z|x) is known at every z, not only at draws of its own.
        space: where its draws lie, that of the prior.
    """

    build: Callable[[int, int], None] = nothing
    attach: Callable[[nn.Module], None] = nothing
    refine: Callable[[dist.TorchDistribution, Tensor], dist.TorchDistribution] = unrefined
    name: str | None = None
    loc_head: nn.Module | None = None
    scale_head: nn.Module | None = None
    invertible: bool = True
    space: Space = EUCLIDEAN


def require_space(posterior: nn.Module, space: Space, latent_dim: int | None = None) -> None:
    """Refuse a posterior whose draws lie elsewhere than the prior's.

    Raises:
        ModelError: both spaces are named, or latent_dim is too small for the space.
    """
    part = declared(Posterior, posterior)
    if part.space != space:
        raise ModelError(
            f"posterior {part.name or type(posterior).__name__!r} has its draws in the {part.space.name}, and the "
            f"prior's lie in the {space.name}: choose both for one space"
        )
    if latent_dim is not None and latent_dim < space.least_dim:
        raise ModelError(f"the {space.name} needs a latent_dim of at least {space.least_dim}, got {latent_dim}")


def refines(posterior: nn.Module) -> bool:
    """Tell whether a posterior refines q; kept by class, since every step of training asks."""
    kind: object = type(posterior)
    return _refines(kind)


@functools.cache
def _refines(kind: object) -> bool:
    return declared(Posterior, kind).refine is not unrefined


@dataclass(frozen=True)
class CodePrior:
    """The optional attributes of a prior over the codes of a codebook.

    Attributes:
        build: make the parameters, from the number of cells and of codes.
    """

    build: Callable[[int, int], None] = nothing


@dataclass(frozen=True)
class Encoder:
    """The optional attributes of an encoder.

    Attributes:
        takes_missing: it is given x itself, with NaN where a cell is missing.
    """

    takes_missing: bool = False


@dataclass(frozen=True)
class Layer:
    """The optional attributes of a decoder's layer.

    Attributes:
        bias: of a linear layer or a convolution.
        bias_as_made: the bias before training, of the last layer of a decoder of ours.
    """

    bias: Tensor | None = None
    bias_as_made: Tensor | None = None
