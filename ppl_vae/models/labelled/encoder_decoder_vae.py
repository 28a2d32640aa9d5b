r"""From one kind of data to another, such as an image to a spectrum, with a posterior of the code in between.

    model:  z ~ p(z|s) = N(m(s), diag v(s)^2),   x ~ p(x | decoder(z))       s the source, x the target
    guide:  z ~ q(z | x, s)

The decoder reads the code alone, so that all that the source says of the target stands in p(z|s). The bound is one
on log p(x|s), in which no p(s) counts. In im2spec (Kalinin et al. 2021; Roccapriore et al. 2021) the guide never
sees x, and E_q(z|s) log p(x|z) - KL(q(z|s) || N(0, I)) bounds log p(x), not log p(x|s). Here their q(z|s) is the
prior p(z|s), and the guide reads both, as in the conditional VAE of Sohn, Lee & Yan (2015).

Kalinin, Kelley, Vasudevan & Ziatdinov (2021): https://doi.org/10.1021/acsami.0c15085
Roccapriore, Ziatdinov, Cho, Hachtel & Kalinin (2021): https://doi.org/10.1002/smll.202100181
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.labelled.category import checked_code
from ppl_vae.models.labelled.category_and_code import code_given_category
from ppl_vae.models.labelled.encoder_decoder_programs import EncoderDecoderGuide, EncoderDecoderProgram, Source
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.program_pair import (
    Network,
    ProgramPair,
    checked_shape,
    checked_size,
    network_config,
    on_request,
)
from ppl_vae.models.programs import num_features
from ppl_vae.networks import architecture
from ppl_vae.randomness import seeded


class EncoderDecoderVAE(ProgramPair):
    """A model p(x|s) of targets x given sources s of another kind.

    Args:
        event_shape: the shape of one target.
        latent_dim: L, of z.
        source: the name of the programs' argument and the shape of one source, such as {"image": (1, 12, 12)};
            None is {"source": event_shape}.
        network: of the target, as of VAE.
        source_network: of the encoders of the source, by name or options.
        hidden: the hidden layers between both features and q(z | x, s).
        likelihood: as of VAE.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.

    >>> vae = EncoderDecoderVAE((6,), 2, {"image": (1, 4, 4)}, likelihood="gaussian")
    >>> vae.predict(torch.rand(3, 1, 4, 4), num_draws=5).shape
    torch.Size([5, 3, 6])
    """

    kind = "encoder-decoder"
    latent_dim: int
    model: EncoderDecoderProgram
    guide: EncoderDecoderGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        source: Mapping[str, Sequence[int]] | None = None,
        network: Network = "mlp",
        source_network: str | Mapping[str, object] = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        read = Source(*_name_and_shape(source, shape))
        chosen = architecture(source_network)
        self.remember(source={read.name: list(read.shape)}, source_network=network_config(chosen))
        family = self.infer(posterior)
        with seeded(seed):
            encoder, decoder = self.networks(network, self.latent_dim, observed)
            # Of each program its own, so that a gradient of the guide alone moves nothing of the model.
            of_model, of_guide = chosen.encoder(read.shape), chosen.encoder(read.shape)
            features = num_features(of_model, read.shape)
            prior = built(DiagonalPosterior(), features, self.latent_dim)
            joined = code_given_category(encoder, shape, features, hidden, family, self.latent_dim)
            self.model = EncoderDecoderProgram(read, of_model, prior, decoder, observed, shape)
            self.guide = EncoderDecoderGuide(encoder, read, of_guide, joined, shape, observed.allows_missing)

    def start_covariates(self, source: Tensor) -> None:
        """Standardise sources by those of the training data; ``fit`` calls it."""
        self.model.source.start(source)

    @on_request
    def encode(self, x: Array, source: Array) -> dist.TorchDistribution:
        """The posterior q(z | x, s) of x [N, *event_shape] and s [N, *shape]: batch shape [N], event shape [L]."""
        return self.guide.encode(self.own_data(x), self._own(source))

    @on_request
    def encode_source(self, source: Array) -> dist.TorchDistribution:
        """The code given sources [N, *shape] alone, p(z|s): batch shape [N], event shape [L]."""
        return self.model.code(self._own(source))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z) of codes [*batch, L]: batch shape [*batch]."""
        return self.model.decode(checked_code(self.to_own(z), self.latent_dim))

    @torch.no_grad()
    def reconstruct(self, x: Array, source: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x, source).mean).mean

    @exclusive()
    @torch.no_grad()
    def predict(self, source: Array, num_draws: int = 1, with_noise: bool = False) -> Tensor:
        """Draw targets given sources [N, *shape]: [num_draws, N, *event_shape].

        z is drawn from p(z|s); each draw is the mean of p(x|z), or with noise x itself. Draws come from torch's
        global generator.
        """
        z = self.encode_source(source).sample((integer("num_draws", num_draws),))
        return self.decode(z).sample() if with_noise else self.decode(z).mean

    def sample(self, num_samples: int, *source: Array, with_noise: bool = False) -> Tensor:
        """One target for each of ``num_samples`` sources, as ``predict`` draws it: [num_samples, *event_shape].

        Raises:
            ModelError: the sources are missing, or are of another number or shape.
        """
        if not source:
            return self.model.latents()
        given = [self.to_own(each) for each in source]
        if len(given) > 1 or len(given[0]) != integer("num_samples", num_samples):
            found = " and ".join(str(len(each)) for each in given)
            raise ModelError(f"covariate {self.model.source.name!r}: expected {num_samples} of it, found {found}")
        return self.predict(given[0], with_noise=with_noise)[0]

    def _own(self, source: Array) -> Tensor:
        """Sources on the model's device, judged by their values."""
        own = self.to_own(source)
        self.model.check_covariates(own)
        return own


def _name_and_shape(
    source: Mapping[str, Sequence[int]] | None, event_shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    if source is None:
        return "source", event_shape
    if not isinstance(source, Mapping) or len(source) != 1:
        raise ModelError(f"source: expected one name and shape, such as {{'image': (1, 12, 12)}}, got {source!r}")
    ((name, shape),) = source.items()
    return str(name), checked_shape(tuple(shape))
