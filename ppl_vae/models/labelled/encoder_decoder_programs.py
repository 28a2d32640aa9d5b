"""The programs p(z|s) p(x|z) and q(z | x, s) of an encoder-decoder, and how they read s."""

from __future__ import annotations

import functools

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.programs import ObservedProgram, Recognition


class Source(nn.Module):
    """The source as networks read it: moved and scaled by the mean and standard deviation of the training data's.

    Args:
        name: of the programs' argument.
        shape: of one source.
    """

    centre: Tensor
    spread: Tensor
    is_started: Tensor

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.name, self.shape = name, shape
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("is_started", torch.zeros((), dtype=torch.bool))

    def forward(self, source: Tensor) -> Tensor:
        """Standardise sources [N, *shape] by one mean and one standard deviation.

        Raises:
            ModelError: they have another shape.
        """
        if tuple(source.shape[1:]) != self.shape or not source.dim():
            shape = ", ".join(map(str, self.shape))
            raise ModelError(f"covariate {self.name!r}: expected sources [N, {shape}], got {list(source.shape)}")
        return (source.to(self.centre) - self.centre) / self.spread

    @torch.no_grad()
    def start(self, source: Tensor) -> None:
        """Take mean and standard deviation of training data [N, *shape], the first time only."""
        if bool(self.is_started):
            return
        spread = source.double().std(correction=0)
        self.centre.copy_(source.double().mean())
        self.spread.copy_(spread if spread > 0 else torch.ones_like(spread))
        self.is_started.fill_(True)


class EncoderDecoderProgram(ObservedProgram):
    """The program p(z|s) p(x|z).

    Args:
        source: how s is read.
        encoder: s [N, *shape] -> features [N, H].
        prior: features -> p(z|s).
        decoder: [B, L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z).
        event_shape: the shape of one target.
    """

    def __init__(
        self,
        source: Source,
        encoder: nn.Module,
        prior: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.source, self.encoder, self.prior = source, encoder, prior

    @property
    def covariates(self) -> tuple[str]:
        """The name of what the programs take beside x."""
        return (self.source.name,)

    def check_covariates(self, source: Tensor) -> None:
        """Judge the values of the source once, before any work is done with them.

        Raises:
            ModelError: it has another shape.
            DataError: it has NaN or infinite values.
        """
        if not self.source(source).isfinite().all():
            raise DataError(f"covariate {self.source.name!r}: NaN or infinite values, which no encoder reads")

    def forward(self, x: Tensor | None = None, source: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, given sources [N, *shape], conditioned on x [N, *event_shape] or drawing x.

        Raises:
            ModelError: the source is missing or has another shape, or x has.
        """
        if source is None:
            return self.latents()
        return self.run(functools.partial(self.latents_of, source), x, len(source))

    def latents(self) -> Tensor:
        """Refuse to draw without a source, of which the model knows no law.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"site 'x': p(x|s) needs the covariate {self.source.name!r} beside x")

    def latents_of(self, source: Tensor) -> Tensor:
        """Draw z given sources [N, *shape]: [*batch, L]."""
        return pyro.sample("z", self.code(source))

    def code(self, source: Tensor) -> dist.TorchDistribution:
        """The code given sources [N, *shape], p(z|s): batch shape [N], event shape [L]."""
        return self.prior(self.encoder(self.source(source)))


class EncoderDecoderGuide(Recognition):
    """The guide q(z | x, s).

    Args:
        encoder: x [N, *event_shape] -> features [N, H].
        source: how s is read.
        source_encoder: s [N, *shape] -> features [N, G].
        conditional: both features [B, H + G] -> q(z | x, s).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        source: Source,
        source_encoder: nn.Module,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.source, self.source_encoder, self.conditional = source, source_encoder, conditional

    @property
    def covariates(self) -> tuple[str]:
        """The name of what the programs take beside x."""
        return (self.source.name,)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Run the program: it draws z [N, L] from q(z | x, s)."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x, source))

    def encode(self, x: Tensor, source: Tensor) -> dist.TorchDistribution:
        """The posterior q(z | x, s) of x [N, *event_shape] and s [N, *shape]: batch shape [N], event shape [L]."""
        return self.conditional(torch.cat([self.features(x), self.source_encoder(self.source(source))], -1))
