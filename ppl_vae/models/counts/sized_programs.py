"""The programs of counts with size factors, and the decoder whose means sum to a size."""

from __future__ import annotations

import functools
import math

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.labelled.covariate_code import CovariateCode
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.programs import GuideProgram, ObservedProgram
from ppl_vae.precision import scale, widened

# The log of the guide's first standard deviation of log l: a total of counts says l to about a tenth.
FIRST_LOG_SCALE = math.log(0.1)


class SizedDecoder(nn.Module):
    """A decoder whose means sum to a size.

    Args:
        decoder: [B, L] -> [B, P * D], of which the first D are logits of rho.
        size: D, how many counts a datum has.
    """

    def __init__(self, decoder: nn.Module, size: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.size = size

    def forward(self, latents: Tensor) -> Tensor:
        """The features [B, P, D] of (z, log l) [B, L + 1]: the log means log l + log rho, and the others."""
        features = widened(self.decoder(latents[:, :-1])).reshape(len(latents), -1, self.size)
        logits, others = features.split([1, features.shape[1] - 1], 1)
        return torch.cat([logits.log_softmax(-1) + latents[:, -1:].unsqueeze(-1), others], 1)


class CountProgram(ObservedProgram):
    """The program p(z) p(l) p(x|z, l), or p(z) p(x|z, l) given l.

    Args:
        prior: forward gives p(z).
        decoder: of (z, log l).
        likelihood: of counts, by their log means.
        event_shape: the shape of one datum.
        library: "latent" or "observed".
        batch: the experiment of a datum as a vector; None where all are of one.
    """

    library_loc: Tensor
    library_scale: Tensor
    num_seen: Tensor

    def __init__(
        self,
        prior: nn.Module,
        decoder: SizedDecoder,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
        library: str,
        batch: CovariateCode | None = None,
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior
        self.batch = batch
        self.covariates = names_of(library == "observed", batch is not None)
        self.register_buffer("library_loc", torch.zeros(1))
        self.register_buffer("library_scale", torch.ones(1))
        self.register_buffer("num_seen", torch.tensor(0.0))

    def check_covariates(self, *covariates: Tensor) -> None:
        """Refuse library sizes that are not positive, and experiments that are none.

        Raises:
            DataError: some are not, or they are no vector [N].
        """
        named = dict(zip(self.covariates, covariates, strict=False))
        if "library" in named:
            self.check_library(named["library"])
        if "batch" in named and self.batch is not None:
            self.batch.check(named["batch"])

    def check_library(self, library: Tensor) -> None:
        """Refuse library sizes that are not positive.

        Raises:
            DataError: some are not, or they are no vector [N].
        """
        bad = int((~(library > 0)).sum())
        if bad or library.dim() != 1:
            raise DataError(
                f"library: expected sizes above 0 [N], found shape {list(library.shape)} with {bad} others"
            )

    @torch.no_grad()
    def look_at(self, x: Tensor) -> None:
        """Take the moments of log l from the training data [N, *event_shape], once."""
        if self.num_seen == 0:
            logs = log_total(x.double())
            self.num_seen.fill_(len(x))
            self.library_loc.copy_(logs.mean(0))
            self.library_scale.copy_(logs.std(0, correction=0).clamp(min=1e-3))

    def forward(self, x: Tensor | None = None, *covariates: Tensor, size: int | None = None) -> Tensor:
        """Run the program, conditioned on x [N, *event_shape] or drawing x; given what is declared [N].

        Raises:
            ModelError: it is missing.
        """
        given = self.log_library(*covariates)
        code = self.batch_code(*covariates)
        count = next((len(each) for each in (given, code) if each is not None), size)
        return self.run(functools.partial(self.latents_of, given, code), x, count)

    def latents(self) -> Tensor:
        """Draw (z, log l); refuse to where there are covariates, of which the model knows no law."""
        return self.latents_of(self.log_library(), self.batch_code())

    def latents_of(self, log_library: Tensor | None, code: Tensor | None = None) -> Tensor:
        """Draw z, and log l unless it is given [N, 1]: [*batch, L + C + 1], with the experiment's code [N, C]."""
        z = pyro.sample("z", self.prior())
        if log_library is None:
            law = dist.Normal(widened(self.library_loc), widened(self.library_scale)).to_event(1)
            log_library = pyro.sample("log_library", law)
        return self.joined(z, log_library, code)

    def joined(self, z: Tensor, log_library: Tensor, code: Tensor | None) -> Tensor:
        """The latents as the decoder reads them: [*batch, L + C + 1]."""
        parts = [z, *([] if code is None else [code.to(z.dtype)]), log_library]
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return torch.cat([part.expand(*shape, -1) for part in parts], -1)

    def log_library(self, *covariates: Tensor) -> Tensor | None:
        """The log of library sizes [N, 1]; None where they are latent."""
        if "library" not in self.covariates:
            return None
        if not covariates:
            raise ModelError("site 'x': the model needs 'library', the library size of each datum [N]")
        return covariates[0].to(self.library_loc.dtype).log().unsqueeze(-1)

    def batch_code(self, *covariates: Tensor) -> Tensor | None:
        """The experiments [N] as vectors [N, C]; None where all are of one.

        Raises:
            ModelError: they are missing.
        """
        if self.batch is None:
            return None
        if len(covariates) != len(self.covariates):
            raise ModelError("site 'x': the model needs 'batch', the experiment of each datum [N]")
        return self.batch(covariates[-1])


class CountGuide(GuideProgram):
    """The guide q(z|x), or q(z|x) q(l|x).

    Args:
        encoder, posterior, event_shape: as of ``models.programs.GuideProgram``.
        num_features: H, of the encoder.
        library: "latent" or "observed".
        has_batch: whether the experiment is a covariate, which the guide does not look at.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        event_shape: tuple[int, ...],
        num_features: int,
        library: str,
        has_batch: bool = False,
    ) -> None:
        super().__init__(encoder, posterior, event_shape)
        self.covariates = names_of(library == "observed", has_batch)
        if library == "latent":
            self.library_head = nn.Linear(num_features, 2)
            nn.init.zeros_(self.library_head.weight)
            with torch.no_grad():
                self.library_head.bias.copy_(torch.tensor([0.0, FIRST_LOG_SCALE]))

    def forward(self, x: Tensor, *covariates: Tensor) -> Tensor:
        """Run the program: it draws z [N, L], and log l [N, 1] where it is latent."""
        with pyro.plate("data", self.begin(x)):
            z = pyro.sample("z", self.encode(x))
            if "library" not in self.covariates:
                pyro.sample("log_library", self.library(x))
            return z

    def library(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(log l|x) of x [N, *event_shape]: batch shape [N], event shape [1]."""
        shift, log_scale = widened(self.library_head(self.features(x))).chunk(2, -1)
        return dist.Normal(log_total(widened(x)) + shift, scale(log_scale)).to_event(1)


def log_total(x: Tensor) -> Tensor:
    """The log of 1 + the sum of counts of each datum [N, *event_shape]: [N, 1]."""
    return x.flatten(1).sum(1, keepdim=True).log1p()


def names_of(has_library: bool, has_batch: bool) -> tuple[str, ...]:
    """The names of what the programs take beside the counts, in order."""
    return (*(["library"] if has_library else []), *(["batch"] if has_batch else []))
