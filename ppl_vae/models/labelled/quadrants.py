"""The seen quadrants of images, which are the condition of a completion, and the hidden ones, its target."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import NoReturn

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.distributions import CompletedCoordinates
from ppl_vae.errors import ModelError
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.programs import ObservedProgram


def hidden_quadrants(event_shape: tuple[int, ...], visible: int) -> Tensor:
    """The mask of the hidden pixels of an image: boolean [C, H, W].

    Args:
        event_shape: (C, H, W).
        visible: how many quadrants are seen. 1: the lower left; 2: the left half; 3: all but the lower right.

    Raises:
        ModelError: the data are no images, or ``visible`` is not 1, 2 or 3.

    >>> hidden_quadrants((1, 2, 2), visible=1).int().tolist()
    [[[1, 1], [0, 1]]]
    """
    if len(event_shape) != 3 or min(event_shape[1:]) < 2:
        raise ModelError(f"quadrants are parts of images: expected event_shape (C, H, W), got {event_shape}")
    if isinstance(visible, bool) or visible not in (1, 2, 3):
        raise ModelError(f"visible: expected the number of quadrants that are seen, 1, 2 or 3, got {visible!r}")
    _, height, width = event_shape
    hidden = torch.ones(event_shape, dtype=torch.bool)
    hidden[:, height // 2 :, : width // 2] = False
    if visible == 2:
        hidden[:, :, : width // 2] = False
    if visible == 3:
        hidden[:, : height // 2, :] = False
    return hidden


class HiddenPixels(Likelihood):
    """A likelihood of the hidden pixels alone, made from another one: conditioned on x, the seen ones are given.

    Args:
        of: independent over coordinates.
        hidden: which pixels are hidden, bool [*event_shape].

    Raises:
        ModelError: the other likelihood is itself one of data with holes.
    """

    hidden: Tensor

    def __init__(self, of: Likelihood, hidden: Tensor) -> None:
        super().__init__()
        if of.allows_missing:
            raise ModelError(f"likelihood {of.name!r}: pixels are hidden by the model, not by NaN in the data")
        self.likelihood = of
        self.name, self.num_parameters, self.is_density = of.name, of.num_parameters, of.is_density
        self.register_buffer("hidden", hidden, persistent=False)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of whole images, seen pixels and hidden ones."""
        return self.likelihood(features, event_dim)

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> CompletedCoordinates:
        """The distribution p(x_hidden | z, x_seen), over whole images."""
        full = self.likelihood.adapt(features, torch.where(self.hidden, x, torch.nan), event_dim)
        if not isinstance(full, dist.Independent) or full.reinterpreted_batch_ndims != event_dim:
            raise ModelError(
                f"hidden pixels need a likelihood that is independent over pixels, as Pyro's "
                f"Independent(base, {event_dim}); {self.name!r} is not"
            )
        return CompletedCoordinates(full, x, self.hidden)

    def start(self, x: Tensor) -> Tensor | None:
        """That of the other likelihood, of all pixels."""
        return self.likelihood.start(x)

    def check(self, x: Tensor) -> None:
        """Judge all pixels as the other likelihood does."""
        self.likelihood.check(x)


def seen(x: Tensor, hidden: Tensor) -> Tensor:
    """The condition: x [N, *event_shape] with 0 in the hidden pixels."""
    return torch.where(hidden, 0.0, x)


class GivenSeenPixels(ObservedProgram, ABC):
    """A program of the hidden pixels of images, given the seen ones."""

    likelihood: HiddenPixels

    @abstractmethod
    def latents_of(self, x: Tensor) -> Tensor:
        """Draw the latent sites, if there are any, of images [N, *event_shape]; return the decoder's input."""

    def forward(self, x: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, given the seen pixels of x [N, *event_shape] and conditioned on the others.

        Raises:
            ModelError: x is missing or has another shape.
        """
        return self.run(self.latents if x is None else functools.partial(self.latents_of, x), x, size)

    def latents(self) -> NoReturn:
        """Refuse to draw: there is no draw without a condition.

        Raises:
            ModelError: always.
        """
        raise ModelError("site 'x': p(hidden | c) needs images x, whose seen quadrants are the condition c")
