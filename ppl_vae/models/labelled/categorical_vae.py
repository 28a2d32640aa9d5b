r"""A VAE with categorical latents (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017).

    model:  y_m ~ Categorical(1/C, ..., 1/C)  for m = 1, ..., M,   x ~ p(x | decoder(y_1, ..., y_M))
    guide:  y_m ~ Categorical(softmax(logits_m(x)))                independently of each other

The site "y" holds all M variables, one-hot: event shape [M, C]. It has C^M values. Where they are few, sum over
them: ``inf.Enumeration(vae.num_configurations)``; else relax them by ``inf.GumbelSoftmax``, or take the score
function (``inf.RLOO``, ``inf.VIMCO``).

Jang, Gu & Poole (2017): https://arxiv.org/abs/1611.01144
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.precision import widened
from ppl_vae.randomness import seeded


class CategoricalProgram(LatentVariableProgram):
    """The program p(y) p(x|y) with p(y) uniform.

    Args:
        num_variables: M.
        num_categories: C.
        decoder: [B, M C] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|y).
        event_shape: the shape of one datum.
    """

    logits: Tensor

    def __init__(
        self,
        num_variables: int,
        num_categories: int,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.register_buffer("logits", torch.zeros(num_variables, num_categories), persistent=False)

    def latents(self) -> Tensor:
        """Draw y ~ p(y): [*batch, M C]."""
        return pyro.sample("y", dist.OneHotCategorical(logits=widened(self.logits)).to_event(1)).flatten(-2)


class CategoricalGuide(Recognition):
    """The guide q(y|x), a product over the M variables.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_variables: M.
        num_categories: C.
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_variables: int,
        num_categories: int,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.sizes = num_variables, num_categories
        self.head = nn.Linear(num_features(encoder, event_shape), num_variables * num_categories)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws y [N, M, C] from q(y|x)."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("y", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The posterior q(y|x) of x [N, *event_shape]: batch shape [N], event shape [M, C]."""
        logits = self.head(self.features(x)).unflatten(-1, self.sizes)
        return dist.OneHotCategorical(logits=widened(logits)).to_event(1)


class CategoricalVAE(ProgramPair):
    """M categorical latents of C categories each, all in the site "y".

    Args:
        event_shape: the shape of one datum.
        num_variables: M (30 in Jang et al.).
        num_categories: C (10 there).
        network: as of VAE; a decoder of the user's own maps [B, M C].
        likelihood: as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "categorical"
    model: CategoricalProgram
    guide: CategoricalGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_variables: int = 20,
        num_categories: int = 10,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.num_variables = checked_size("num_variables", num_variables)
        self.num_categories = checked_size("num_categories", num_categories)
        sizes = self.num_variables, self.num_categories
        with seeded(seed):
            encoder, decoder = self.networks(network, sizes[0] * sizes[1], observed)
            self.model = CategoricalProgram(*sizes, decoder, observed, shape)
            self.guide = CategoricalGuide(encoder, *sizes, shape, observed.allows_missing)

    @property
    def num_configurations(self) -> int:
        """The number C^M of configurations that an exact enumeration sums over."""
        return self.num_categories**self.num_variables

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(y|x) for data [N, *event_shape]: batch shape [N], event shape [M, C]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, y: Array) -> dist.TorchDistribution:
        """The likelihood p(x|y) for one-hot codes [*batch, M, C]: batch shape [*batch], event_shape as the data's.

        Raises:
            ModelError: another shape, or codes that are not one-hot, such as the probabilities ``encode(x).mean``.
        """
        codes, sizes = self.to_own(y), (self.num_variables, self.num_categories)
        if codes.dim() < 3 or tuple(codes.shape[-2:]) != sizes:
            raise ModelError(
                f"site 'y': expected codes of shape [N, {sizes[0]}, {sizes[1]}], got {list(codes.shape)}"
            )
        if not (((codes == 0) | (codes == 1)).all() and (codes.sum(-1) == 1).all()):
            raise ModelError(
                "site 'y': expected one-hot codes, got other numbers; decode a draw of encode(x) "
                "and not its mean, or the likeliest categories as reconstruct(x) does"
            )
        return self.model.decode(codes.flatten(-2))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|y) at the guide's likeliest categories: [N, *event_shape]."""
        mean = self.encode(x).mean
        return self.decode(nn.functional.one_hot(mean.argmax(-1), self.num_categories)).mean
