r"""The conditional VAE of covariates of any kind, p(x|c) (Sohn, Lee & Yan 2015).

    model:  z ~ N(0, I), or z ~ p(z|c),   x ~ p(x | decoder(c, z))
    guide:  z ~ q(z | x, c)

Covariates c = (c1, ..., cm) are numbers, vectors and categories together (``covariate_code``). The bound is one on
log p(x|c), in which no p(c) counts; without covariates nothing can be drawn. Sites: "z" and "x".

Sohn, Lee & Yan (2015), "Learning structured output representation using deep conditional generative models"
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer, truth
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import checked_code
from ppl_vae.models.labelled.category_and_code import code_given_category
from ppl_vae.models.labelled.conditional_vae import PRIORS, ConditionalVAE
from ppl_vae.models.labelled.covariate_code import CovariateCode, Kind
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import ObservedProgram, Recognition
from ppl_vae.networks import MLP
from ppl_vae.randomness import seeded
from ppl_vae.renamed import renamed


class CovariateProgram(ObservedProgram):
    """The program p(z) p(x|c, z), or p(z|c) p(x|c, z).

    Args:
        code: the covariates as one vector [N, C].
        prior: gives p(z); or p(z|c) of that vector, where it is a Conditional.
        decoder: [B, C + L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|c, z).
        event_shape: the shape of one datum.
    """

    def __init__(
        self,
        code: CovariateCode,
        prior: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.code = code
        self.prior = prior

    @property
    def covariates(self) -> tuple[str, ...]:
        """The names of what the programs take beside x, in order."""
        return self.code.names

    def check_covariates(self, *covariates: Tensor) -> None:
        """Judge the values of covariates once, before any work is done with them."""
        self.code.check(*covariates)

    def forward(self, x: Tensor | None = None, *covariates: Tensor, size: int | None = None) -> Tensor:
        """Run the program, given covariates [N, ...], conditioned on x [N, *event_shape] or drawing x.

        Raises:
            ModelError: a covariate is missing or has another shape, or x has.
        """
        code = self.code(*covariates)
        return self.run(functools.partial(self.latents_of, code), x, len(code))

    def latents(self) -> Tensor:
        """Refuse to draw without covariates, of which the model knows no law.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"site 'x': draws need the covariates {', '.join(map(repr, self.covariates))}")

    def latents_of(self, code: Tensor) -> Tensor:
        """Draw z given covariates as one vector [*batch, C], behind which it stands: [*batch, C + L]."""
        z = pyro.sample("z", self.prior(code) if isinstance(self.prior, Conditional) else self.prior())
        return torch.cat([code.expand(*z.shape[:-1], -1), z], -1)


class CovariateGuide(Recognition):
    """The guide q(z|x, c).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        code: the covariates as one vector [N, C].
        conditional: features and that vector [B, H + C] -> q(z|x, c).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        code: CovariateCode,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.code = code
        self.conditional = conditional

    def forward(self, x: Tensor, *covariates: Tensor) -> Tensor:
        """Run the program: it draws z [N, L] from q(z|x, c).

        Raises:
            ModelError: a covariate is missing or has another shape, or x has.
        """
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x, *covariates))

    def encode(self, x: Tensor, *covariates: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x, c) of x [N, *event_shape] and covariates: batch shape [N], event shape [L]."""
        return self.conditional(torch.cat([self.features(x), self.code(*covariates)], -1))


class CovariateVAE(ProgramPair):
    """A model p(x|c) with a code "z" for what varies beside the covariates.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        covariates: their kinds by name, in the order of the programs' arguments: C for a category of C classes,
            "continuous" for a number, {"continuous": D} for a vector. ``fit`` standardises numbers by the training
            data's.
        network: as of VAE; a decoder of the user's own maps [B, C + L], C the size of all covariates together.
        hidden: the hidden layers between the encoder's features with c and q(z|x, c).
        likelihood: as of VAE.
        prior: "standard", z independent of c; or "conditional", a Gaussian whose moments are a network's of c.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.

    >>> vae = CovariateVAE((4,), 2, {"age": "continuous", "site": 3}, likelihood="gaussian")
    >>> vae.sample(2, torch.tensor([30.0, 40.0]), torch.tensor([0, 2])).shape
    torch.Size([2, 4])
    """

    kind = "covariate"
    latent_dim: int
    model: CovariateProgram
    guide: CovariateGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        covariates: Mapping[str, Kind],
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        prior: str = "standard",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        if prior not in PRIORS:
            raise ModelError(unknown_name("prior", prior, PRIORS))
        # One for both programs: they read the same numbers.
        code = CovariateCode(covariates)
        self.remember(covariates=code.config)
        family = self.infer(posterior)
        with seeded(seed):
            encoder, decoder = self.networks(network, code.size + self.latent_dim, observed)
            conditional = code_given_category(encoder, shape, code.size, hidden, family, self.latent_dim)
            self.model = CovariateProgram(code, self._prior(prior, code.size, hidden), decoder, observed, shape)
            self.guide = CovariateGuide(encoder, code, conditional, shape, observed.allows_missing)

    def _prior(self, name: str, size: int, hidden: Sequence[int]) -> nn.Module:
        if name == "conditional":
            return Conditional(MLP(tuple(hidden)).encoder((size,)), DiagonalPosterior(), size, self.latent_dim)
        prior = StandardNormalPrior()
        prior.build(self.latent_dim)
        return prior

    def start_covariates(self, *covariates: Tensor) -> None:
        """Standardise numbers among the covariates by those of the training data; ``fit`` calls it."""
        self.model.code.start(*covariates)

    @on_request
    def encode(self, x: Array, *covariates: Array) -> dist.TorchDistribution:
        """The posterior q(z|x, c) of x [N, *event_shape] and covariates: batch shape [N], event shape [L]."""
        return self.guide.encode(self.own_data(x), *self._own(covariates))

    @on_request
    def decode(self, z: Array, *covariates: Array) -> dist.TorchDistribution:
        """The likelihood p(x|c, z) for codes [*batch, N, L] and covariates of N data."""
        codes = checked_code(self.to_own(z), self.latent_dim)
        code = self.model.code(*self._own(covariates))
        return self.model.decode(torch.cat([code.expand(*codes.shape[:-1], -1), codes], -1))

    @torch.no_grad()
    def reconstruct(self, x: Array, *covariates: Array) -> Tensor:
        """The mean of p(x|c, z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x, *covariates).mean, *covariates).mean

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def sample(self, num_samples: int, *covariates: Array, with_noise: bool = False) -> Tensor:
        """The mean of p(x|c, z) at n draws of z: [n, *event_shape].

        Args:
            num_samples: how many.
            covariates: of each of them [n, ...].
            with_noise: draw x itself.

        Draws come from torch's global generator.

        Raises:
            ModelError: a covariate is missing, or has another shape.
        """
        code = self.model.code(*self._own(covariates))
        if len(code) != integer("num_samples", num_samples):
            raise ModelError(f"covariates: expected {num_samples} of each, found {len(code)}")
        with pyro.poutine.block(), pyro.plate("data", num_samples):
            likelihood = self.model.decode(self.model.latents_of(code))
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean

    def _own(self, covariates: tuple[Array, ...]) -> tuple[Tensor, ...]:
        """Covariates as tensors on the model's device, judged by their values."""
        device = self.model.code.centre.device
        names = (*self.model.covariates, *["covariates"] * len(covariates))
        given = tuple(to_tensor(c, name).to(device) for c, name in zip(covariates, names, strict=False))
        self.model.check_covariates(*given)
        return given


def conditional_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    num_classes: int = 10,
    network: Network = "mlp",
    hidden: Sequence[int] = (64,),
    likelihood: LikelihoodSpec = "bernoulli",
    prior: str = "standard",
    posterior: Spec = "diagonal",
    seed: int | None = 0,
    covariates: Mapping[str, Kind] | None = None,
) -> ProgramPair:
    """The conditional VAE of one class y, or of ``covariates`` where they are given; the rest is the same."""
    rest = (network, hidden, likelihood, prior, posterior)
    if covariates is None:
        return ConditionalVAE(event_shape, latent_dim, num_classes, *rest, seed=seed)
    return CovariateVAE(event_shape, latent_dim, covariates, *rest, seed=seed)
