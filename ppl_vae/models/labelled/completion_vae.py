r"""Images completed from some of their quadrants (Sohn, Lee & Yan 2015): p(hidden | c), c the pixels that are seen.

    model:  z ~ p(z|c),   x_hidden ~ p(x_hidden | baseline(c) + decoder(z))
    guide:  z ~ q(z | x)

The baseline network alone says one thing of every hidden pixel; the code adds which of several completions it is.
Data are whole images, as of any model: which of their pixels are the condition is fixed, and only the others have a
likelihood, so the bound is one on log p(hidden | c). Sites: "z" and "x", of whole images. ``CompletionBaseline`` is
the baseline as a model of its own, without a latent: its log likelihood is of the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer, truth
from ppl_vae.distributions import CompletedCoordinates
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.labelled.category import checked_code
from ppl_vae.models.labelled.completion_baseline import Baseline, baseline_config, baseline_network
from ppl_vae.models.labelled.quadrants import GivenSeenPixels, HiddenPixels, hidden_quadrants, seen
from ppl_vae.models.likelihoods.count_networks import seen_by
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.program_pair import ProgramPair, checked_size, on_request
from ppl_vae.models.programs import GuideProgram, num_features
from ppl_vae.networks import Architecture, architecture
from ppl_vae.randomness import seeded
from ppl_vae.renamed import renamed

Architectural = str | Mapping[str, object] | Architecture


class OnBaseline(nn.Module):
    """The decoder's features of a code, added to the features of a baseline without one.

    Args:
        decoder: [B, L] -> [B, F] in any trailing shape.
        latent_dim: L.
    """

    def __init__(self, decoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.latent_dim = latent_dim

    def forward(self, code: Tensor) -> Tensor:
        """Add the decoder's features of a code to the baseline's features behind it: [B, L + F] -> [B, F]."""
        z, guess = code[:, : self.latent_dim], code[:, self.latent_dim :]
        return self.decoder(z).flatten(1) + guess


class CompletionProgram(GivenSeenPixels):
    """The program p(z|c) p(x_hidden | z, c).

    Args:
        condition: c [N, *event_shape], 0 where it is hidden -> features [N, H].
        prior: these features -> p(z|c).
        baseline: c -> features of x [N, F] in any trailing shape, without z; F = P * prod(event_shape).
        decoder: z, and behind it the baseline's features [B, L + F] -> [B, F].
        likelihood: features -> p(x_hidden | z, c).
        event_shape: the shape of one datum.
    """

    def __init__(
        self,
        condition: nn.Module,
        prior: nn.Module,
        baseline: nn.Module,
        decoder: OnBaseline,
        likelihood: HiddenPixels,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.condition = condition
        self.prior = prior
        self.baseline = baseline

    def latents_of(self, x: Tensor) -> Tensor:
        """Draw z ~ p(z|c) of images [N, *event_shape], followed by the baseline's features: [*batch, L + F]."""
        return self.beside(pyro.sample("z", self.code(x)), x)

    def code(self, x: Tensor) -> dist.TorchDistribution:
        """The prior p(z|c) of images [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.prior(self.condition(seen(x, self.likelihood.hidden)))

    def complete(self, z: Tensor, x: Tensor) -> CompletedCoordinates:
        """The likelihood p(x_hidden | z, c) of codes [*batch, N, L] and x [N, *event_shape], over whole images."""
        return self.likelihood.adapt(self._features(self.beside(z, x)), x, len(self.event_shape))

    def beside(self, z: Tensor, x: Tensor) -> Tensor:
        """Append the baseline's features of x, computed once for all, to codes z [*batch, N, L]."""
        guess = self.baseline(seen(x, self.likelihood.hidden)).flatten(1)
        return torch.cat([z, guess.expand(*z.shape[:-1], -1)], -1)


class CompletionVAE(ProgramPair):
    """A model of the hidden quadrants of images given the seen ones; its code "z" tells completions apart.

    Args:
        event_shape: (C, H, W).
        latent_dim: L, of z.
        visible: how many quadrants are seen. 1: the lower left; 2: the left half; 3: all but the lower right.
        network: of the encoder, the decoder and the condition, as of VAE but for a pair of modules.
        baseline: the baseline's architecture, None for that of ``network``; or a module c [B, *event_shape] ->
            [B, P * prod(event_shape)], such as ``CompletionBaseline(...).model.baseline`` after its training.
        likelihood: as of VAE, for one that is independent over pixels.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: data that are no images, an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "completion"
    latent_dim: int
    model: CompletionProgram
    guide: GuideProgram

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        visible: int = 1,
        network: Architectural = "mlp",
        baseline: Baseline | None = None,
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        family = self.infer(posterior)
        hidden_pixels = HiddenPixels(observed, hidden_quadrants(shape, visible))
        if isinstance(network, tuple):
            raise ModelError(
                "network: expected a name or an architecture, of which the encoder, the decoder and the condition "
                "are made, got a tuple of modules"
            )
        design = architecture(network)
        guessing = design if baseline is None else baseline
        self.remember(baseline=baseline_config(guessing))
        with seeded(seed):
            encoder, decoder = self.networks(design, self.latent_dim, observed)
            condition, prior = seen_by(observed, design.encoder(shape)), DiagonalPosterior()
            for part, below in ((family, encoder), (prior, condition)):
                built(part, num_features(below, shape), self.latent_dim)
            guess = baseline_network(guessing, shape, observed)
            decoder = OnBaseline(decoder, self.latent_dim)
            self.model = CompletionProgram(condition, prior, guess, decoder, hidden_pixels, shape)
            self.guide = GuideProgram(encoder, family, shape)

    def prior(self, x: Array) -> dist.TorchDistribution:
        """The prior p(z|c) of the seen quadrants of images [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.model.code(self.own_data(x))

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) of whole images [N, *event_shape]: batch shape [N], event shape [L]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array, x: Array) -> CompletedCoordinates:
        """The likelihood p(x_hidden | z, c) of codes [*batch, N, L] and x [N, *event_shape], over whole images."""
        codes, data = checked_code(self.to_own(z), self.latent_dim), self.own_data(x)
        if codes.shape[-2] != len(data):
            raise ModelError(
                f"site 'z': expected codes [..., {len(data)}, L] of {len(data)} images, got {list(codes.shape)}"
            )
        return self.model.complete(codes, data)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The image with its seen quadrants, and the mean of the others at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x).mean, x).mean

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def complete(self, x: Array, num_samples: int = 1, with_noise: bool = False) -> Tensor:
        """Complete images, of which the seen quadrants alone are read: [num_samples, N, *event_shape].

        Args:
            x: [N, *event_shape].
            num_samples: draws of z ~ p(z|c), each decoded to a mean.
            with_noise: draw the hidden pixels too.

        Draws come from torch's global generator.
        """
        z = self.prior(x).sample(torch.Size([integer("num_samples", num_samples)]))
        completed = self.decode(z, x)
        return completed.sample() if truth("with_noise", with_noise) else completed.mean

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def sample(self, num_samples: int, with_noise: bool = False, x: Array | None = None) -> Tensor:
        """Complete each of the images x [num_samples, *event_shape] once; see ``complete``.

        Raises:
            ModelError: x is missing, or has another shape.
        """
        if x is None:
            self.model.latents()
        elif len(self.own_data(x)) != integer("num_samples", num_samples):
            raise ModelError(f"site 'x': expected {num_samples} images to complete, got {len(self.own_data(x))}")
        return self.complete(x, 1, with_noise)[0]
