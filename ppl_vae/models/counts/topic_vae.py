r"""Topics of documents by a product of experts, ProdLDA (Srivastava & Sutton 2017).

    model:  z ~ N(m, diag v),   theta = softmax(z),   x ~ Multinomial(n, softmax(theta B)),   n = sum_w x_w
    guide:  z ~ q(z | x)

x are the counts of words of a document, the rows of B [K, V] the topics. N(m, diag v) is the Laplace approximation
of a Dirichlet in the basis of the softmax (``topic_parts``). Latent Dirichlet allocation mixes distributions of
words; here their logs are mixed, p(w | theta) proportional to prod_k p_k(w)^theta_k, so that a document can be
sharper than each of its topics. The bound is one on log p(x | n), with the multinomial coefficient.

The paper keeps topics from collapsing by batch normalisation and dropout, under which the density of a document
depends on the others of its batch; the recipe "prod-lda" raises the KL's weight slowly instead.

Srivastava & Sutton (2017), "Autoencoding variational inference for topic models": https://arxiv.org/abs/1703.01488
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer, positive
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.counts.topic_parts import CountsGivenTotal, LaplaceDirichletPrior, ProductOfExperts
from ppl_vae.models.program_pair import Network, ProgramPair, checked_shape, on_request
from ppl_vae.models.programs import GenerativeProgram, GuideProgram, num_features
from ppl_vae.models.protocols import Posterior
from ppl_vae.randomness import seeded


class TopicVAE(ProgramPair):
    """A topic model of counts whose topics multiply, with an amortised guide.

    Args:
        event_shape: the shape of one datum, such as (V,) for a vocabulary of V words.
        latent_dim: K, the number of topics, at least 2.
        concentration: of the Dirichlet that the prior is near to, one number or K of them.
        network: whose encoder is taken.
        posterior: q(z|x), as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.

    >>> vae = TopicVAE((5,), 3)
    >>> vae.topics().shape, vae.proportions(torch.ones(2, 5)).shape
    (torch.Size([3, 5]), torch.Size([2, 3]))
    """

    kind = "topics"
    latent_dim: int
    model: GenerativeProgram
    guide: GuideProgram

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 20,
        concentration: float | Sequence[float] = 1.0,
        network: Network = "mlp",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.event_shape = shape = checked_shape(event_shape)
        self.latent_dim = integer("latent_dim", latent_dim, least=2)
        prior = LaplaceDirichletPrior(_concentration(concentration, self.latent_dim))
        counts, family = CountsGivenTotal(), self.infer(posterior)
        with seeded(seed):
            encoder, _ = self.networks(network, self.latent_dim, counts)
            declared(Posterior, family).build(num_features(encoder, shape), self.latent_dim)
            topics = ProductOfExperts(self.latent_dim, math.prod(shape))
            self.model = GenerativeProgram(prior, topics, counts, shape)
            self.guide = GuideProgram(encoder, family, shape)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [K]; theta is softmax(z)."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The distribution of codes' words [N, K], of as many words as the training data have on average."""
        return self.model.decode(self.to_own(z))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean counts n softmax(theta B) at the guide's mean of z, with each document's own n."""
        data = self.own_data(x)
        shares = self.decode(self.encode(data).mean).mean
        own, given = (each.flatten(1).sum(1, keepdim=True) for each in (data, shares))
        return (shares.flatten(1) * (own / given)).view(data.shape)

    @on_request
    def proportions(self, x: Array) -> Tensor:
        """The topics' weights theta in documents x [N, *event_shape], at the guide's mean of z: [N, K]."""
        return self.encode(x).mean.softmax(-1)

    @torch.no_grad()
    def topics(self) -> Tensor:
        """The distribution over words that each topic has alone, softmax(B_k): [K, *event_shape]."""
        decoder = self.model.decoder
        assert isinstance(decoder, ProductOfExperts)
        return decoder.weight.softmax(-1).unflatten(-1, self.event_shape)


def _concentration(given: float | Sequence[float], count: int) -> Tensor:
    values = list(given) if isinstance(given, Sequence) else [given] * count
    if len(values) != count:
        raise ModelError(f"concentration: expected one number or {count} of them, got {len(values)}")
    return torch.tensor([positive("concentration", value) for value in values], dtype=torch.float64)
