r"""The Gaussian-process VAE (Fortuin, Baranchuk, Raetsch & Mandt 2020): sequences with frames or cells missing.

    model:  z_l ~ GP(0, k_l) over time, l = 1, ..., L;     x_t ~ p(x_t | decoder(z_1(t), ..., z_L(t)))
    guide:  q(z|x) = prod_l N(m_l(x), (B_l' B_l)^-1)         (``gaussian_process``)

The sites are "z", all channels over all frames, and "x", the sequence; what is NaN in x under the likelihood
{"name": "missing-pixels", "of": ...} has no likelihood. Beside a Markov chain, whose state is all that the future
knows, a channel remembers as far as its kernel reaches.

Fortuin et al. (2020): https://arxiv.org/abs/1907.04155
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import remembers
from ppl_vae.models.deep_markov.frames import FrameDecoder, Frames
from ppl_vae.models.deep_markov.gaussian_process import BandedHead, GaussianProcessPrior
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.likelihoods.missingness import takes_missing
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, network_config, networks, on_request
from ppl_vae.models.programs import GenerativeProgram, GuideProgram, num_features
from ppl_vae.randomness import seeded


class GPVAE(ProgramPair):
    """A VAE of sequences whose latent channels are Gaussian processes: data (..., T, D), as of DeepMarkovModel.

    Args:
        event_shape: (T, D), or (C, H, W) for an image read row by row.
        num_channels: L.
        network: between one frame and its codes, as of VAE.
        kernel: "cauchy", "rbf" or "exponential".
        length_scale: in frames, of every channel at the start; learned.
        reach: frames before and after that the guide's convolution over time sees.
        hidden: its channels.
        likelihood: as of VAE; "missing-pixels" for sequences with frames or cells missing.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an event shape that is no sequence's, an unknown name, or a number out of its range.
    """

    kind = "gaussian-process"
    latent_dim: int
    model: GenerativeProgram
    guide: GuideProgram

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_channels: int = 4,
        network: Network = "mlp",
        kernel: str = "cauchy",
        length_scale: float = 3.0,
        reach: int = 2,
        hidden: int = 64,
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.frames = Frames(self.event_shape)
        self.num_channels = checked_size("num_channels", num_channels)
        self.latent_dim = self.num_channels * self.frames.number
        self.remember(network=network_config(network))
        with seeded(seed):
            prior = GaussianProcessPrior(self.frames.number, self.num_channels, kernel, length_scale)
            encoder, emission = networks(network, self.frames.shape, self.num_channels, observed)
            inner = FrameDecoder(emission, self.num_channels, observed.num_parameters, self.frames.shape)
            over_time = FramesEncoder(encoder, self.frames, integer("reach", reach, least=0), hidden)
            head = BandedHead(hidden, self.frames.number, self.num_channels)
            self.model = GenerativeProgram(prior, ChannelDecoder(inner), observed, self.event_shape)
            self.guide = GuideProgram(over_time, head, self.event_shape, observed.allows_missing)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [L * T]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z) of codes [*batch, L * t], any t: batch shape [*batch], laid out as x is."""
        codes = self.to_own(z)
        if codes.dim() < 2 or codes.shape[-1] % self.num_channels:
            raise ModelError(
                f"site 'z': expected codes of shape [N, {self.num_channels} * T], got {list(codes.shape)}"
            )
        features = self.model.decoder(codes.flatten(0, -2)).unflatten(0, codes.shape[:-1])
        return self.model.likelihood(features, len(self.event_shape))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean: [N, *event_shape]; what is missing in x is filled in."""
        return self.decode(self.encode(x).mean).mean

    @exclusive()
    @torch.no_grad()
    def forecast(self, x: Array, num_frames: int, num_samples: int = 100, with_noise: bool = True) -> Tensor:
        """Draw the frames after the last of a sequence, given it: quantiles over draws are intervals.

        z is drawn from the guide, and continued by the process given that; with noise x itself is drawn, else the
        mean of p(x|z). Draws come from torch's global generator.

        Args:
            x: [N, *event_shape].
            num_frames: how many frames.
            num_samples: draws for each sequence.
            with_noise: whether the likelihood's noise is a part of a draw.

        Returns:
            [num_samples, N, ...], as x but with ``num_frames`` in the place of T.
        """
        z = self.encode(x).sample((integer("num_samples", num_samples),))
        channels = z.unflatten(-1, (self.num_channels, self.frames.number))
        later = self._process.continued(channels, integer("num_frames", num_frames))
        p = self.decode(later.flatten(-2))
        return p.sample() if with_noise else p.mean

    @property
    def _process(self) -> GaussianProcessPrior:
        prior = self.model.prior
        if not isinstance(prior, GaussianProcessPrior):
            raise ModelError(f"the prior is no Gaussian process but {type(prior).__name__}")
        return prior


class ChannelDecoder(nn.Module):
    """The emission of codes that stand channel after channel.

    Args:
        frames: the emission of codes that stand frame after frame.
    """

    def __init__(self, frames: FrameDecoder) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, z: Tensor) -> Tensor:
        """Decode z [B, L * T] into features [B, P, ..., T, D], laid out as x is."""
        found: Tensor = self.frames(z.unflatten(1, (self.frames.latent_dim, -1)).mT.flatten(1))
        return found


class FramesEncoder(nn.Module):
    """The encoder of every frame, and a convolution over time.

    Args:
        encoder: a frame [B, *shape] -> [B, F].
        frames: how a datum falls into frames.
        reach: frames before and after that an output sees.
        hidden: channels of an output.
    """

    def __init__(self, encoder: nn.Module, frames: Frames, reach: int, hidden: int) -> None:
        super().__init__()
        self.encoder, self.frames, self.takes_missing = encoder, frames, takes_missing(encoder)
        size = num_features(encoder, frames.shape)
        self.over_time = nn.Conv1d(size, checked_size("hidden", hidden), 2 * reach + 1, padding=reach)

    def forward(self, x: Tensor) -> Tensor:
        """Read x [N, *event_shape] into features [N, T * hidden], frame after frame."""
        frames = self.frames.split(x)
        read = self.encoder(frames.flatten(0, 1)).unflatten(0, (len(x), self.frames.number))
        return torch.tanh(self.over_time(read.mT)).mT.flatten(1)
