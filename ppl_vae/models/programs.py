"""The two Pyro programs of a variational autoencoder.

    model:  z_n ~ p(z),   x_n ~ p(x | decoder(z_n))      n in plate "data"
    guide:  z_n ~ q(z | encoder(x_n))                    n in plate "data"

Both are nn.Modules whose forward is the program, so that stock Pyro takes them. Particle dimensions to the
left of the plate are folded into the batch before a network sees them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import MISSING_VALUES, all_finite
from ppl_vae.containers import CoordinateNames, Table
from ppl_vae.declared import declared
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.missingness import filled, takes_missing
from ppl_vae.models.protocols import Posterior, Prior, refines
from ppl_vae.precision import fed, widened
from ppl_vae.registration import InstanceName, register


class ObservedProgram(nn.Module, ABC):
    """The generative program of x: a decoder and a likelihood on latent sites that a subclass states.

    Its ``forward`` is the subclass's, with the arguments that stand beside x: a condition, or labels.

    Args:
        decoder: [B, latent_dim] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features [*batch, P, *event_shape] -> p(x|z).
        event_shape: the shape of one datum.
    """

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = likelihood
        self.event_shape = event_shape
        # Of the data that it was trained on; a column in another place is another number.
        self.coordinate_names: CoordinateNames = {}
        self._name = InstanceName("model")

    @abstractmethod
    def latents(self) -> Tensor:
        """Draw the latent sites inside the data plate, and return the decoder's input [*batch, code_dim]."""

    def run(self, latents: Callable[[], Tensor], x: Tensor | None, size: int | None) -> Tensor:
        """Run the program with latent sites of the caller's choice, such as those given a condition.

        Raises:
            ModelError: neither x nor size is given, or x has another event shape.
        """
        size = self.size_of(x, size)
        register(self._name, self)
        with pyro.plate("data", size):
            return self.observe(latents(), x)

    def observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """Observe x [N, *event_shape] given z [*batch, latent_dim], at the site "x", or draw it there."""
        if x is None:
            return pyro.sample("x", self.decode(z))
        x = widened(x)
        p = self.likelihood.adapt(self._features(z), x, len(self.event_shape))
        return pyro.sample("x", p, obs=x)

    def size_of(self, x: Tensor | None, size: int | None) -> int:
        """The number of data in a run.

        Raises:
            ModelError: neither x nor size is given, or x has another event shape.
        """
        if x is not None:
            require_event_shape(x, self.event_shape)
            return len(x)
        if size is None:
            raise ModelError("model needs data x, or size= to draw from the prior predictive")
        return size

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """The likelihood p(x|z) of z [*batch, latent_dim]: batch shape [*batch], event shape as the data's."""
        return self.likelihood(self._features(z), len(self.event_shape))

    def _features(self, z: Tensor) -> Tensor:
        """Decode z [*batch, latent_dim] into features [*batch, P, *event_shape]."""
        features = widened(self.decoder(fed(self.decoder, z.flatten(0, -2))))
        shape = (*z.shape[:-1], self.likelihood.num_parameters, *self.event_shape)
        if features.numel() != math.prod(shape):
            raise ModelError(
                f"site 'x': the decoder gave {tuple(features.shape)} for codes {tuple(z.shape)}, but likelihood "
                f"{self.likelihood.name!r} needs {self.likelihood.num_parameters} x {self.event_shape} per datum"
            )
        return features.reshape(shape)

    @property
    def allows_missing(self) -> bool:
        """Tell whether NaN in x stands for a missing coordinate."""
        return self.likelihood.allows_missing

    @property
    def table(self) -> Table | None:
        """The reader that turns a frame of named columns into data; None where nothing does."""
        return self.likelihood.table

    def check_data(self, x: Tensor) -> None:
        """Judge the values of x once, before any work is done with them.

        Raises:
            ModelError: x has another event shape.
            DataError: some value is outside the likelihood's support.
        """
        require_event_shape(x, self.event_shape)
        self.require_observed(x)
        self.likelihood.check(x)

    def require_observed(self, x: Tensor) -> None:
        """Refuse infinities in x, and NaN where it does not stand for a missing coordinate.

        Raises:
            DataError: there are some; for NaN the message names the likelihood that takes it.
        """
        if all_finite(x):
            return
        if infinite := int(x.isinf().sum()):
            raise DataError(f"site 'x': {infinite} of {x.numel()} values are infinite")
        if not self.allows_missing and (missing := int(x.isnan().sum())):
            raise DataError(f"site 'x': {missing} of {x.numel()} values are NaN; {MISSING_VALUES}")


class LatentVariableProgram(ObservedProgram, ABC):
    """The program latents ~ p(latents), x ~ p(x | decoder(latents)), given nothing but x."""

    def forward(self, x: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, conditioned on x [N, *event_shape] or drawing ``size`` data from the prior predictive.

        Raises:
            ModelError: neither x nor size is given, or x has another event shape.
        """
        return self.run(self.latents, x, size)


class GenerativeProgram(LatentVariableProgram):
    """The generative program p(z) p(x|z): the prior, the decoder and the likelihood.

    Args:
        prior: forward gives p(z), event shape [latent_dim].
        decoder: [B, latent_dim] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features [*batch, P, *event_shape] -> p(x|z).
        event_shape: the shape of one datum.
    """

    def __init__(
        self, prior: nn.Module, decoder: nn.Module, likelihood: Likelihood, event_shape: tuple[int, ...]
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior

    def _features(self, z: Tensor) -> Tensor:
        return super()._features(declared(Prior, self.prior).space.read(z))

    def latents(self) -> Tensor:
        """Draw z ~ p(z): [*batch, latent_dim]."""
        return pyro.sample("z", self.prior())


class Recognition(nn.Module):
    """The encoder with which every guide begins, and its view of x.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        event_shape: the shape of one datum.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0 or as it is.
    """

    def __init__(self, encoder: nn.Module, event_shape: tuple[int, ...], allows_missing: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.event_shape = event_shape
        self.allows_missing = allows_missing
        self._name = InstanceName("guide")

    def begin(self, x: Tensor) -> int:
        """Show the parameters to the Pyro handlers that are listening, and return the size of the data plate.

        Raises:
            ModelError: x has another event shape.
        """
        require_event_shape(x, self.event_shape)
        register(self._name, self)
        return len(x)

    def features(self, x: Tensor) -> Tensor:
        """The encoder's features [N, H] of x [N, *event_shape]."""
        return self.encoder(self.seen(x))

    def seen(self, x: Tensor) -> Tensor:
        """The data as the encoder sees them: 0 for a missing coordinate, or x itself if it takes NaN."""
        return self.seen_by(self.encoder, x)

    def seen_by(self, network: nn.Module, x: Tensor) -> Tensor:
        """The data as another network of the guide sees them; compare ``seen``."""
        return filled(x) if self.allows_missing and not takes_missing(network) else x

    @property
    def sees_missing(self) -> bool:
        """Tell whether the encoder can distinguish a missing coordinate from an observed 0."""
        return takes_missing(self.encoder)


class GuideProgram(Recognition):
    """The guide q(z|x): the encoder and the posterior.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        posterior: features -> q(z|x), event shape [latent_dim].
        event_shape: the shape of one datum.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0 or as it is.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.posterior = posterior

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z [N, latent_dim] from q(z|x)."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [latent_dim]."""
        q = self.amortised(x)
        return declared(Posterior, self.posterior).refine(q, x) if refines(self.posterior) else q

    def amortised(self, x: Tensor) -> dist.TorchDistribution:
        """The amortised q(z|x) of the encoder alone, before any refinement by the posterior."""
        return self.posterior(self.features(x))


def require_event_shape(x: Tensor, event_shape: tuple[int, ...]) -> None:
    """Raise ``ModelError`` unless x is [N, *event_shape]."""
    shape = x.shape
    if shape and not shape[0]:
        raise DataError(f"site 'x': data are empty: shape {list(x.shape)}")
    if shape[1:] != event_shape or not shape:
        raise ModelError(
            f"site 'x': expected data of shape [N, {', '.join(map(str, event_shape))}], got {list(x.shape)}"
        )


def num_features(encoder: nn.Module, event_shape: tuple[int, ...]) -> int:
    """The number of features H of an encoder, by one dry run in evaluation mode on zeros.

    Raises:
        ModelError: its output is not [B, H].
    """
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    like = next(encoder.parameters(), torch.empty(0))
    with torch.no_grad():
        features = encoder(torch.zeros(2, *event_shape, dtype=like.dtype, device=like.device))
    for module, training in modes:
        module.training = training
    if features.dim() != 2 or len(features) != 2:
        raise ModelError(
            f"the encoder must map [B, {', '.join(map(str, event_shape))}] to [B, H], "
            f"got {list(features.shape)} for B = 2"
        )
    return features.shape[1]
