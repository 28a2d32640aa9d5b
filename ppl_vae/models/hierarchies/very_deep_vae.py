r"""A very deep VAE (Child 2021), small: many levels of latent images along one residual top-down path.

    model:  h_L learned,   z_l ~ N(m_l(h_l), diag s_l(h_l)^2),   h_l-1 = h_l + f_l(h_l, z_l)     l = L, ..., 1
            x ~ p(x | head(h_0))
    guide:  z_l ~ N(n_l(h_l, a_l), diag t_l(h_l, a_l)^2),   a_l what x says at the resolution of level l

The path starts at one pixel and is raised to the data's resolution; every resolution has as many levels as
``levels_each`` says. The guide walks the model's own path in the model's order, so that the closed-form KL is the
divergence of the joint, and ``terms.kl("z3")`` is that of a level. The sites are "z1" (next to the data) to "zL".
Last layers start smaller by the root of the depth.

What such depth needs besides to train stands where all models have it: free bits per level
(``inf.FreeBits("analytic-kl", floor, group_size=None)``), steps with a large gradient left out
(``inf.SkippingAdam``), and a weight on the layers' spectral norms (``inf.SpectralNorm``, Vahdat & Kautz 2020).

Child (2021): https://arxiv.org/abs/2011.10650
Vahdat & Kautz (2020): https://arxiv.org/abs/2007.03898
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.hierarchies.top_down_blocks import (
    BottomUp,
    GaussianOfFeatures,
    TopDownLevel,
    resolutions_of,
)
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import ProgramPair, checked_size
from ppl_vae.models.programs import LatentVariableProgram, Recognition
from ppl_vae.randomness import seeded


class TopDownProgram(LatentVariableProgram):
    """The generative program along the path.

    Args:
        levels: from the top, z_L, to z_1.
        width: W, the channels of the state.
        head: the state at the data's resolution, flattened [B, W S S] -> [B, P C, S, S].
        likelihood: features -> p(x|z).
        event_shape: (C, S, S).
    """

    def __init__(
        self,
        levels: list[TopDownLevel],
        width: int,
        head: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(head, likelihood, event_shape)
        self.levels = nn.ModuleList(levels)
        self.start = nn.Parameter(torch.randn(width, 1, 1))

    def latents(self) -> Tensor:
        """Draw z_L, ..., z_1, and return the state below them, flattened: [*batch, W S S]."""
        h = self.start.unsqueeze(0)
        for number, level in self.numbered():
            h = level.raised(h)
            h = level.entered(h, pyro.sample(f"z{number}", level.prior(h)))
        return h.flatten(-3)

    def numbered(self) -> list[tuple[int, TopDownLevel]]:
        """The levels with their numbers, from L down to 1."""
        found = [level for level in self.levels if isinstance(level, TopDownLevel)]
        return list(zip(range(len(found), 0, -1), found, strict=True))


class TopDownImageGuide(Recognition):
    """The guide along the model's path, with what x says at every resolution beside it.

    Args:
        model: whose path it walks; its parameters stay the model's.
        encoder: the bottom-up path.
        posteriors: features of the state and of x [B, 2 W, r, r] -> q(z_l | z_>l, x), from z_L to z_1.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0.
    """

    encoder: BottomUp

    def __init__(
        self,
        model: TopDownProgram,
        encoder: BottomUp,
        posteriors: list[GaussianOfFeatures],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, model.event_shape, allows_missing)
        self.posteriors = nn.ModuleList(posteriors)
        # In a tuple, so that nn.Module does not take the model for a part of the guide.
        self._model = (model,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z_L, ..., z_1 and returns the state below them, flattened."""
        with pyro.plate("data", self.begin(x)):
            return self.descend(x, pyro.sample)

    def descend(self, x: Tensor, choose: Callable[[str, dist.TorchDistribution], Tensor]) -> Tensor:
        """Go down the path with z_l as ``choose`` takes it from q(z_l | z_>l, x): the last state [*batch, W S S].

        Args:
            x: [N, *event_shape].
            choose: gives a value of a site by its name and q.
        """
        (model,) = self._model
        seen = self.encoder.parts(self.features(x))
        h = model.start.unsqueeze(0)
        for (number, level), posterior in zip(model.numbered(), self.posteriors, strict=True):
            h, own = level.raised(h), seen[level.resolution]
            batch = torch.broadcast_shapes(h.shape[:-3], own.shape[:-3])
            both = torch.cat([part.expand(*batch, *part.shape[-3:]) for part in (h, own)], -3)
            h = level.entered(h, choose(f"z{number}", posterior(both)))
        return h.flatten(-3)


class VeryDeepVAE(ProgramPair):
    """A VAE of images with several levels of latents at every resolution, of one residual top-down path.

    Args:
        event_shape: (C, S, S), square images.
        channels: Z, the channels of every latent.
        width: W, the channels of the path.
        levels_each: how many levels every resolution has.
        likelihood: as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: the data are no square images, an unknown name, or a size below one.
    """

    kind = "very-deep"
    model: TopDownProgram
    guide: TopDownImageGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        channels: int = 2,
        width: int = 16,
        levels_each: int = 2,
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        if len(shape) != 3 or shape[1] != shape[2]:
            raise ModelError(f"a very deep VAE needs square images of event_shape (C, S, S), got {shape}")
        self.channels, self.width = checked_size("channels", channels), checked_size("width", width)
        self.levels_each = integer("levels_each", levels_each)
        with seeded(seed):
            self._assemble(observed)

    def _assemble(self, likelihood: Likelihood) -> None:
        resolutions = resolutions_of(self.event_shape[1])
        path = [r for r in reversed(resolutions) for _ in range(self.levels_each)]
        levels = [TopDownLevel(self.width, self.channels, r, len(path)) for r in path]
        side, outputs = self.event_shape[1], likelihood.num_parameters * self.event_shape[0]
        head = nn.Sequential(
            nn.Unflatten(1, (self.width, side, side)), nn.GELU(), nn.Conv2d(self.width, outputs, 3, padding=1)
        )
        self.model = TopDownProgram(levels, self.width, head, likelihood, self.event_shape)
        encoder = BottomUp(self.event_shape[0], self.width, resolutions)
        posteriors = [GaussianOfFeatures(2 * self.width, self.channels) for _ in path]
        self.guide = TopDownImageGuide(self.model, encoder, posteriors, likelihood.allows_missing)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's means, level by level: [N, *event_shape]."""
        return self.model.decode(self.guide.descend(self.own_data(x), lambda name, q: q.mean)).mean
