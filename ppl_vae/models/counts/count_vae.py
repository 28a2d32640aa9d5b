r"""A VAE of counts with size factors (Lopez et al. 2018): what a datum is made of, apart from how much was counted.

    model:  z ~ p(z),  log l ~ N(m, s^2) or given,   x_g ~ p(x_g | mean l rho_g),   rho = softmax(decoder(z))
    guide:  z ~ q(z | x),  log l ~ N(log(1 + sum_g x_g) + a(x), b(x)^2)

so that the means of a datum, before additional zeros, sum to its library size l. "observed": l is a covariate [N],
a number that is known beside the counts, such as a depth or an exposure, and all densities are given it. The sum of
the counts themselves is no such number: given it their density is another one. "latent": log l is a site with a
Gaussian prior, whose moments are those of log(1 + sum_g x_g) in the training data.

With ``batches`` the category of the experiment that a datum comes from, s, is a covariate too: rho =
softmax(decoder(z, s)), so that z need not tell it. The guide does not look at s.

Lopez, Regier, Cole, Jordan & Yosef (2018): https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import math

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer, truth
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import Spec, own_config, remembers
from ppl_vae.models.counts.sized_programs import CountGuide, CountProgram, SizedDecoder
from ppl_vae.models.labelled.covariate_code import CovariateCode
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.priors.priors import PRIORS
from ppl_vae.models.priors.priors import prior as make_prior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import num_features
from ppl_vae.models.protocols import Posterior, Prior, require_space
from ppl_vae.randomness import seeded

LIBRARIES = ("latent", "observed")
# Of counts by their log mean, which a size factor moves.
COUNTED = ("poisson", "negative-binomial", "zero-inflated-poisson", "zero-inflated-negative-binomial")


class CountVAE(ProgramPair):
    """A model of counts that tells what a datum is made of from its library size.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        library: "latent", a site "log_library"; or "observed", a covariate [N] that is known beside the counts.
        network: as of VAE; a decoder of the user's own maps [B, L] -> [B, P * event_shape].
        likelihood: "negative-binomial", "poisson" or a zero-inflated one.
        prior: as of VAE.
        posterior: as of VAE, for one that stands on features alone.
        batches: how many experiments the data come from, told by a covariate "batch" [N] of 0, ..., batches - 1,
            which stands behind the library size; None takes them for one. A decoder of the user's own then maps
            [B, L + batches].
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.

    >>> vae = CountVAE((5,), 2, library="observed", likelihood="poisson")
    >>> [round(total) for total in vae.decode(torch.zeros(2, 2), [10.0, 30.0]).mean.sum(-1).tolist()]
    [10, 30]
    """

    kind = "count"
    latent_dim: int
    model: CountProgram
    guide: CountGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        library: str = "latent",
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "zero-inflated-negative-binomial",
        prior: Spec = "standard",
        posterior: Spec = "diagonal",
        batches: int | None = None,
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        if library not in LIBRARIES:
            raise ModelError(unknown_name("library", library, LIBRARIES))
        if observed.name not in COUNTED:
            raise ModelError(f"a size factor moves the mean of counts: likelihood {observed.name!r} has none")
        self.latent_dim, self.library = checked_size("latent_dim", latent_dim), library
        over_codes, family = make_prior(prior), self.infer(posterior)
        require_space(family, declared(Prior, over_codes).space)
        self.remember(prior=own_config(over_codes, PRIORS))
        code = None if batches is None else CovariateCode({"batch": batches})
        with seeded(seed):
            encoder, decoder = self.networks(network, self.latent_dim + (batches or 0), observed)
            count = num_features(encoder, shape)
            declared(Prior, over_codes).build(self.latent_dim)
            declared(Posterior, family).build(count, self.latent_dim)
            sized = SizedDecoder(decoder, math.prod(shape))
            self.model = CountProgram(over_codes, sized, observed, shape, library, code)
            self.guide = CountGuide(encoder, family, shape, count, library, batches is not None)
            declared(Prior, over_codes).attach(self.guide, shape)

    def start_untrained(self, x: Tensor) -> None:
        """Take the moments of the library size, and the rates of counts, from training data; ``fit`` calls it."""
        self.model.look_at(x)
        super().start_untrained(x)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array, library: Array, batch: Array | None = None) -> dist.TorchDistribution:
        """The likelihood p(x|z, l, s) of codes [*batch, N, L], library sizes [N] and categories [N], if any."""
        codes, sizes = self.to_own(z), self.to_own(library)
        code = self._code(batch, len(sizes))
        self.model.check_library(sizes)
        return self.model.decode(self.model.joined(codes, sizes.log().unsqueeze(-1), code))

    @exclusive()
    @torch.no_grad()
    def sample(
        self, num_samples: int, with_noise: bool = False, library: Array | None = None, batch: Array | None = None
    ) -> Tensor:
        """The mean of p(x|z, l, s) at prior draws [num_samples, *event_shape]; ``with_noise`` draws x itself.

        Args:
            num_samples: how many.
            with_noise: draw x itself.
            library: their sizes [num_samples]; not needed where they are latent, and then drawn.
            batch: their experiments [num_samples], of a model with ``batches``.

        Raises:
            ModelError: they are needed, or of another number.
        """
        count = integer("num_samples", num_samples)
        given = None if library is None else self.to_own(to_tensor(library, "library")).log().unsqueeze(-1)
        if given is None:
            given = self.model.log_library()
        elif len(given) != count:
            raise ModelError(f"library: expected {num_samples} sizes, found {len(given)}")
        code = self._code(batch, count)
        with pyro.poutine.block(), pyro.plate("data", count):
            likelihood = self.model.decode(self.model.latents_of(given, code))
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean

    def _code(self, batch: Array | None, count: int) -> Tensor | None:
        """The experiments [N] of so many data as vectors [N, C], once judged; None where all are of one.

        Raises:
            ModelError: they are needed, not known to the model, or of another number.
        """
        if self.model.batch is None and batch is None:
            return None
        if self.model.batch is None or batch is None:
            raise ModelError("batch: needed, and known, where the model has batches")
        categories = to_tensor(batch, "batch").to(next(self.parameters()).device)
        if len(categories) != count:
            raise ModelError(f"batch: expected {count} categories, found {len(categories)}")
        self.model.batch.check(categories)
        return self.model.batch(categories)
