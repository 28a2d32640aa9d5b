r"""The deep Markov model (Krishnan, Shalit & Sontag 2017): a state-space model whose every arrow is a network.

    model:  z_1 ~ N(m, diag s^2),   z_t ~ p(z_t | z_t-1) (``gated_transition``)   for t = 2, ..., T
            x_t ~ p(x_t | emission(z_t))                                          for t = 1, ..., T
    guide:  z_t ~ q(z_t | z_t-1, x_t:T) (``smoothing_guide``)                     for t = 1, ..., T

The sites are "z1", ..., "zT" and "x", the whole sequence. Guide and model draw in the same order, so the
closed-form KL is the divergence of the joint. Time is a loop and every shape is fixed, so that a training step can
be captured.

Sequences of differing length are padded with NaN under the likelihood {"name": "missing-pixels", "of": ...}: the
frames that are not there have no likelihood and no divergence, and frames missing in between are integrated out.

Krishnan, Shalit & Sontag (2017): https://arxiv.org/abs/1609.09869
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer, truth
from ppl_vae.errors import DataError, ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import remembers
from ppl_vae.models.deep_markov.frames import FrameDecoder, Frames
from ppl_vae.models.deep_markov.gated_transition import GatedTransition
from ppl_vae.models.deep_markov.smoothing_guide import BackwardRNN, Combiner, SmoothingGuide
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.priors.priors import DiagonalNormalPrior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, network_config, networks, on_request
from ppl_vae.models.programs import LatentVariableProgram
from ppl_vae.randomness import seeded
from ppl_vae.renamed import renamed


class MarkovProgram(LatentVariableProgram):
    """The program p(z_1) p(x_1 | z_1) p(z_2 | z_1) p(x_2 | z_2) ...

    Args:
        initial: forward gives p(z_1).
        transition: z_t-1 [*batch, L] -> p(z_t | z_t-1).
        decoder: z_1, ..., z_T [B, T * L] -> features [B, P, *event_shape].
        likelihood: features -> p(x | z_1, ..., z_T), independent over frames.
        frames: how a datum falls into frames.
    """

    def __init__(
        self,
        initial: nn.Module,
        transition: nn.Module,
        decoder: FrameDecoder,
        likelihood: Likelihood,
        frames: Frames,
    ) -> None:
        super().__init__(decoder, likelihood, frames.event_shape)
        self.initial = initial
        self.transition = transition
        self.frames = frames

    def latents(self) -> Tensor:
        """Draw z_1, ..., z_T, and give them side by side: [*batch, T * L]."""
        z, found = None, []
        for t in range(1, self.frames.number + 1):
            z = pyro.sample(f"z{t}", self.step(z))
            found.append(z)
        return torch.cat(found, -1)

    def step(self, z: Tensor | None) -> dist.TorchDistribution:
        """The transition p(z_t | z_t-1), or p(z_1) where z is None."""
        found: dist.TorchDistribution = self.initial() if z is None else self.transition(z)
        return found

    def emit(self, z: Tensor) -> dist.TorchDistribution:
        """The emission p(x_1, ..., x_t | z) of z [*batch, t, L] for any t: batch shape [*batch], laid out as x."""
        features = self.decoder(z.flatten(0, -3).flatten(1)).unflatten(0, z.shape[:-2])
        return self.likelihood(features, len(self.event_shape))


class DeepMarkovModel(ProgramPair):
    """A deep Markov model of sequences: data (..., T, D) with time in the last dimension but one.

    Args:
        event_shape: (T, D), or (C, H, W) for an image read row by row.
        latent_dim: L, of every z_t.
        network: between one frame and its z_t, as of VAE: a decoder that is the emission, an encoder that the RNN
            reads through.
        hidden: H, the units of the guide's RNN.
        transition_hidden: the hidden units of the gated transition.
        likelihood: as of VAE; "missing-pixels" for sequences of differing length or with frames missing.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an event shape that is no sequence's, an unknown name, a size below one, or parts that do not
            fit together.
    """

    kind = "deep-markov"
    latent_dim: int
    model: MarkovProgram
    guide: SmoothingGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 16,
        network: Network = "mlp",
        hidden: int = 64,
        transition_hidden: int = 64,
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.frames = Frames(self.event_shape)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        sizes = checked_size("hidden", hidden), checked_size("transition_hidden", transition_hidden)
        with seeded(seed):
            self._assemble(network, *sizes, observed)

    def _assemble(self, network: Network, hidden: int, transition_hidden: int, likelihood: Likelihood) -> None:
        frames, dim = self.frames, self.latent_dim
        self.remember(network=network_config(network))
        encoder, emission = networks(network, frames.shape, dim, likelihood)
        initial = DiagonalNormalPrior()
        initial.build(dim)
        decoder = FrameDecoder(emission, dim, likelihood.num_parameters, frames.shape)
        transition = GatedTransition(dim, transition_hidden)
        self.model = MarkovProgram(initial, transition, decoder, likelihood, frames)
        reader, combiner = BackwardRNN(encoder, frames, hidden), Combiner(dim, hidden)
        self.guide = SmoothingGuide(self.model, reader, combiner, dim, likelihood.allows_missing)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z_1|x) of the first frame of x [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.guide.conditionals(self.own_data(x))[0](None)

    def codes(self, x: Array) -> Tensor:
        """The guide's mean of every z_t given its mean of the one before: [N, T, L]."""
        return self.guide.chain(self.own_data(x), lambda _, q: q.mean)

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The emission p(x | z_1, ..., z_t) of codes [*batch, t, L], any t: batch [*batch], laid out as x is."""
        codes = self.to_own(z)
        if codes.dim() < 3 or codes.shape[-1] != self.latent_dim:
            raise ModelError(f"expected codes of shape [N, T, {self.latent_dim}], got {list(codes.shape)}")
        return self.model.emit(codes)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's means: [N, *event_shape]; a frame that is missing in x is filled in."""
        return self.decode(self.codes(x)).mean

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def generate(self, num_samples: int, num_frames: int, with_noise: bool = False) -> Tensor:
        """The mean of p(x|z) at draws of a chain of any length; ``with_noise`` draws x itself.

        Draws come from torch's global generator.

        Returns:
            [num_samples, ...], as x but with ``num_frames`` in the place of T; ``sample`` gives T.
        """
        first = self.model.step(None).sample((integer("num_samples", num_samples),))
        p = self.model.emit(self._continued(first, integer("num_frames", num_frames) - 1))
        return p.sample() if truth("with_noise", with_noise) else p.mean

    @renamed(num_draws="num_samples")
    @exclusive()
    @torch.no_grad()
    def forecast(self, x: Array, num_frames: int, num_samples: int = 100) -> Tensor:
        """The mean of the frames after the last of a sequence, E[x_t+1, ..., x_t+num_frames | x_1:t].

        The last z is drawn from the guide, the later ones from the transition; the mean is over ``num_samples`` of
        such paths, from torch's global generator.

        Args:
            x: [N, *event_shape].
            num_frames: how many frames.
            num_samples: paths for each sequence.

        Returns:
            [N, ...], as x but with ``num_frames`` in the place of T.

        Raises:
            DataError: a sequence of which every frame is missing.
        """
        data, count = self.own_data(x), integer("num_samples", num_samples)
        rows, last = torch.arange(len(data), device=data.device), self._last_frame(data)
        total = torch.zeros((), dtype=data.dtype, device=data.device)
        for _ in range(count):
            z = self.guide.chain(data, lambda _, q: q.sample())[rows, last]
            path = self._continued(z, integer("num_frames", num_frames))
            total = total + self.model.emit(path[:, 1:]).mean
        return total / count

    def _last_frame(self, x: Tensor) -> Tensor:
        """The index of the last frame of every sequence that is not missing: [N]."""
        present = self.guide.present(x)
        if not present.any(1).all():
            raise DataError(
                f"sequence {int((~present.any(1)).nonzero()[0])} has no frame to continue: all are missing"
            )
        steps = torch.arange(1, self.frames.number + 1, device=x.device)
        return (present * steps).argmax(1)

    def _continued(self, z: Tensor, num_steps: int) -> Tensor:
        """Draw ``num_steps`` states of the chain after a state [*batch, L]: [*batch, num_steps + 1, L]."""
        path = [z]
        for _ in range(num_steps):
            path.append(self.model.step(path[-1]).sample())
        return torch.stack(path, -2)
