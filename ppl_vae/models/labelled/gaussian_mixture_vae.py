r"""A VAE whose prior is a mixture of Gaussians with the component as a latent: clustering.

    model:  y ~ Categorical(w),   z ~ N(m_y, diag s_y^2),   x ~ p(x | decoder(z))
    guide:  y ~ Categorical(softmax(logits(x))),   z ~ q(z | x, y)

(Dilokthanakul et al. 2016; Jiang et al. 2017.) The components are learned, their weights w too. q(y|x) is the
clustering. Sites: "y", one-hot with event shape [C], and "z". The component is drawn first, so that it can be
summed out: ``inf.Enumeration(vae.num_configurations)``. A VAE with ``prior="mixture"`` is the same generative model
with y summed out of p(z); its guide does not say which component a datum belongs to.

Dilokthanakul et al. (2016): https://arxiv.org/abs/1611.02648
Jiang, Zheng, Tan, Tang & Zhou (2017): https://arxiv.org/abs/1611.05148
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.models.configuration import remembers
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import checked_code, likeliest, one_hot
from ppl_vae.models.labelled.category_and_code import code_given_category
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.priors.priors import MixturePrior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.precision import scale, widened
from ppl_vae.randomness import seeded


class MixtureProgram(LatentVariableProgram):
    """The program p(y) p(z|y) p(x|z).

    Args:
        prior: the mixture p(z), whose component becomes a site.
        decoder: [B, L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z).
        event_shape: the shape of one datum.
    """

    def __init__(
        self, prior: MixturePrior, decoder: nn.Module, likelihood: Likelihood, event_shape: tuple[int, ...]
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior = prior

    def latents(self) -> Tensor:
        """Draw y ~ p(y) and z ~ p(z|y): [*batch, L]."""
        y = pyro.sample("y", dist.OneHotCategorical(logits=widened(self.prior.logits)))
        return pyro.sample("z", self.component(y))

    def component(self, y: Tensor) -> dist.TorchDistribution:
        """The component p(z|y) for one-hot y [*batch, C]: batch shape [*batch], event shape [L]."""
        loc, log_scale = widened(self.prior.loc), widened(self.prior.log_scale)
        return dist.Normal(y @ loc, scale(y @ log_scale)).to_event(1)


class CodeGivenCategory(Recognition):
    """The parts of a guide q(y|x) q(z|x, y), whatever its program is given beside x.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        category_head: the linear layer of q(y|x), to C logits.
        conditional: (features, y) [B, H + C] -> q(z|x, y).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        category_head: nn.Linear,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.category_head = category_head
        self.conditional = conditional

    def category(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(y|x) of features [N, H]: batch shape [N], event shape [C]."""
        return dist.OneHotCategorical(logits=widened(self.category_head(features)))

    def code(self, features: Tensor, y: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of features [N, H] and one-hot y [*batch, N, C]: batch [*batch, N], event [L]."""
        return self.conditional(torch.cat([features.expand(*y.shape[:-1], -1), y], -1))


class MixtureGuide(CodeGivenCategory):
    """The guide q(y|x) q(z|x, y); its arguments are those of ``CodeGivenCategory``."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws y, then z."""
        with pyro.plate("data", self.begin(x)):
            features = self.features(x)
            y = pyro.sample("y", self.category(features))
            return pyro.sample("z", self.code(features, y))


class GaussianMixtureVAE(ProgramPair):
    """A VAE with a component "y" of a Gaussian mixture, and a code "z" from it.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        num_categories: C, the number of components.
        network: as of VAE.
        hidden: the hidden layers between the encoder's features with y and q(z|x, y).
        likelihood: as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "gaussian-mixture"
    latent_dim: int
    model: MixtureProgram
    guide: MixtureGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_categories: int = 10,
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_categories = checked_size("num_categories", num_categories)
        prior = MixturePrior(self.num_categories)
        with seeded(seed):
            encoder, decoder = self.networks(network, self.latent_dim, observed)
            prior.build(self.latent_dim)
            conditional = code_given_category(
                encoder, shape, self.num_categories, hidden, DiagonalPosterior(), self.latent_dim
            )
            self.model = MixtureProgram(prior, decoder, observed, shape)
            head = nn.Linear(num_features(encoder, shape), self.num_categories)
            self.guide = MixtureGuide(encoder, head, conditional, shape, observed.allows_missing)

    @property
    def num_configurations(self) -> int:
        """The number C of configurations that an exact enumeration sums over."""
        return self.num_categories

    def categories(self, x: Array) -> dist.TorchDistribution:
        """The clustering q(y|x) for data [N, *event_shape]: batch shape [N], event shape [C]."""
        return self.guide.category(self.guide.features(self.own_data(x)))

    @on_request
    def encode(self, x: Array, y: Array | None = None) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of x [N, *event_shape] and components (default: the likeliest): event [L]."""
        features = self.guide.features(self.own_data(x))
        component = likeliest(self.guide.category(features)) if y is None else to_tensor(y, "y")
        return self.guide.code(features, one_hot(component.to(features.device), self.num_categories, features))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z) for codes [*batch, L]: batch shape [*batch], event_shape as the data's."""
        return self.model.decode(checked_code(self.to_own(z), self.latent_dim))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the mean of z under the guide's likeliest component: [N, *event_shape]."""
        return self.decode(self.encode(x).mean).mean
