r"""The structured guide of the deep Markov model, "ST-R": an RNN reads the future, a chain draws from it.

    h_t = tanh(W e(x_t) + U h_t+1 + b),   t = T, ..., 1,   h_T+1 learned,   e the encoder of a frame
    c_t = (tanh(V z_t-1 + a) + h_t) / 2,                   z_0 learned
    q(z_t | z_t-1, x_t:T) = N(mu(c_t), diag s^2(c_t))

The exact posterior factorises likewise: given z_t-1, nothing before t tells more of z_t (Krishnan, Shalit & Sontag
2017, whose guides with less of the structure, or with the past beside it, are not here).

A frame that is missing whole leaves the RNN as it is. Where x has no frame from t on, the guide is the model's own
p(z_t | z_t-1), which is the exact posterior there. So a sequence with padding has the ELBO, draw by draw, of the
sequence without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.models.deep_markov.frames import Frames
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.likelihoods.missingness import takes_missing
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.programs import Recognition, num_features
from ppl_vae.precision import fed


class Chain(Protocol):
    """A model whose latents are a Markov chain."""

    frames: Frames

    def step(self, z: Tensor | None) -> dist.TorchDistribution:
        """The transition p(z_t | z_t-1), or p(z_1) where z is None."""


class BackwardRNN(nn.Module):
    """The RNN that summarises the data from every frame on, for the guide of that frame.

    Args:
        encoder: a frame [B, *shape] -> [B, F].
        frames: how a datum falls into frames.
        hidden: H.
    """

    def __init__(self, encoder: nn.Module, frames: Frames, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.takes_missing = takes_missing(encoder)
        self.frames = frames
        self.inward = nn.Linear(num_features(encoder, frames.shape), hidden)
        self.backward_step = nn.Linear(hidden, hidden, bias=False)
        self.end = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """Read x [N, *event_shape] into h_1, ..., h_T, each [N, H]; ``present`` [N, T] marks the frames."""
        frames = self.frames.split(x)
        read = self.inward(self.encoder(frames.flatten(0, 1))).unflatten(0, (len(x), self.frames.number))
        h, found = self.end.expand(len(x), -1), []
        for t in reversed(range(self.frames.number)):
            before = torch.tanh(read[:, t] + self.backward_step(h))
            h = before if present is None else torch.where(present[:, t, None], before, h)
            found.append(h)
        return found[::-1]


class Combiner(nn.Module):
    """The guide's conditional q(z_t | z_t-1, x_t:T), computed from z_t-1 and h_t.

    Args:
        latent_dim: L.
        hidden: H.
    """

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.past = nn.Linear(latent_dim, hidden)
        self.posterior = built(DiagonalPosterior("softplus-variance"), hidden, latent_dim)

    def forward(self, z: Tensor, h: Tensor) -> dist.TorchDistribution:
        """The conditional of z_t-1 [*batch, L] or [L] and h_t [N, H]: batch shape [*batch], event shape [L]."""
        return self.posterior(0.5 * (torch.tanh(self.past(fed(self.past, z))) + h))


class SmoothingGuide(Recognition):
    """The guide q(z_1 | x) q(z_2 | z_1, x_2:T) ... q(z_T | z_T-1, x_T).

    Args:
        model: whose p(z_t | z_t-1) the guide follows where the data have ended; its parameters stay the model's.
        encoder: x [N, *event_shape] -> h_1, ..., h_T.
        combiner: z_t-1, h_t -> q(z_t | z_t-1, x_t:T).
        latent_dim: L.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0.
    """

    def __init__(
        self, model: Chain, encoder: nn.Module, combiner: nn.Module, latent_dim: int, allows_missing: bool = False
    ) -> None:
        super().__init__(encoder, model.frames.event_shape, allows_missing)
        self.combiner = combiner
        self.start = nn.Parameter(torch.zeros(latent_dim))
        # In a tuple, so that nn.Module does not take the model for a part of the guide.
        self._model = (model,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z_1, ..., z_T and returns them [*batch, T, L]."""
        with pyro.plate("data", self.begin(x)):
            return self.chain(x, lambda t, q: pyro.sample(f"z{t}", q))

    def chain(self, x: Tensor, choose: Callable[[int, dist.TorchDistribution], Tensor]) -> Tensor:
        """Run the chain z_1, ..., z_T [*batch, T, L] for x [N, *event_shape]; ``choose(t, q)`` gives each z_t."""
        z, found = None, []
        for t, conditional in enumerate(self.conditionals(x), 1):
            z = choose(t, conditional(z))
            found.append(z)
        return torch.stack(found, -2)

    def conditionals(self, x: Tensor) -> list[Callable[[Tensor | None], dist.TorchDistribution]]:
        """The conditionals q(z_t | z_t-1, x_t:T) as functions of z_t-1 [*batch, L], t = 1, ..., T; z_0 is None."""
        present = self.present(x) if self.allows_missing else None
        ended = None if present is None else [~present[:, t:].any(1, keepdim=True) for t in range(present.shape[1])]
        return [
            functools.partial(self._conditional, h, None if ended is None else ended[t])
            for t, h in enumerate(self.encoder(self.seen(x), present))
        ]

    def _conditional(self, h: Tensor, ended: Tensor | None, z: Tensor | None) -> dist.TorchDistribution:
        q: dist.TorchDistribution = self.combiner(self.start if z is None else z, h)
        return q if ended is None else _chosen(ended, self._model[0].step(z), q)

    def present(self, x: Tensor) -> Tensor:
        """Mark the frames of x [N, *event_shape] with at least one observed cell: boolean [N, T]."""
        return self._model[0].frames.present(x)


def _chosen(where: Tensor, p: dist.TorchDistribution, q: dist.TorchDistribution) -> dist.TorchDistribution:
    """The diagonal Gaussian p for the data that ``where`` [N, 1] says, q for the others."""
    (loc_p, scale_p), (loc_q, scale_q) = diagonal_loc_scale(p), diagonal_loc_scale(q)
    return dist.Normal(torch.where(where, loc_p, loc_q), torch.where(where, scale_p, scale_q)).to_event(1)
