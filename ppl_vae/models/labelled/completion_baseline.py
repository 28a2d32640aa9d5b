"""The baseline of image completion: p(hidden | c) by a network of the pixels c that are seen, without a latent.

Every hidden pixel has a distribution of its own, independent of the others given c: the best single guess, which is
blurred where several completions are possible. The model has no latent site, so its ELBO is its log likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.models.configuration import Config, remembers
from ppl_vae.models.labelled.quadrants import GivenSeenPixels, HiddenPixels, hidden_quadrants, seen
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.count_networks import seen_by
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import ProgramPair
from ppl_vae.models.programs import num_features, require_event_shape
from ppl_vae.networks import Architecture, architecture, architecture_config
from ppl_vae.randomness import seeded

Baseline = str | Mapping[str, object] | Architecture | nn.Module


def baseline_network(spec: Baseline, event_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
    """Make the network from c [B, *event_shape] to [B, P * prod(event_shape)], unless it is the user's own.

    Raises:
        ModelError: the name is unknown.
    """
    if isinstance(spec, nn.Module):
        return spec
    design = architecture(spec)
    encoder = seen_by(likelihood, design.encoder(event_shape))
    return nn.Sequential(
        encoder, design.decoder(num_features(encoder, event_shape), event_shape, likelihood.num_parameters)
    )


def baseline_config(spec: Baseline) -> Config | None:
    """The configuration that makes the network again; None for a user's own."""
    return None if isinstance(spec, nn.Module) else architecture_config(architecture(spec))


class BaselineProgram(GivenSeenPixels):
    """The program p(x_hidden | c).

    Args:
        baseline: c [B, *event_shape], 0 where it is hidden -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x_hidden | c).
        event_shape: the shape of one datum.
    """

    def __init__(self, baseline: nn.Module, likelihood: HiddenPixels, event_shape: tuple[int, ...]) -> None:
        super().__init__(nn.Identity(), likelihood, event_shape)
        self.baseline = baseline

    def latents_of(self, x: Tensor) -> Tensor:
        """The network's features of images [N, *event_shape]: [N, P * prod(event_shape)]."""
        return self.baseline(seen(x, self.likelihood.hidden)).flatten(1)


class NoLatents(nn.Module):
    """The guide of a model without latent sites."""

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = event_shape

    def forward(self, x: Tensor) -> None:
        """Run the program, which draws nothing."""
        require_event_shape(x, self.event_shape)


class CompletionBaseline(ProgramPair):
    """A model that predicts the hidden quadrants of images from the seen ones, each pixel by itself.

    Args:
        event_shape: (C, H, W).
        visible: how many quadrants are seen. 1: the lower left; 2: the left half; 3: all but the lower right.
        network: an architecture, whose encoder and decoder stand in a row; or a module of the user's own.
        likelihood: as of VAE, for one that is independent over pixels.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: data that are no images, or an unknown name.
    """

    kind = "completion-baseline"
    model: BaselineProgram
    guide: NoLatents

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        visible: int = 1,
        network: Baseline = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.remember(network=baseline_config(network))
        hidden_pixels = HiddenPixels(observed, hidden_quadrants(shape, visible))
        with seeded(seed):
            self.model = BaselineProgram(baseline_network(network, shape, observed), hidden_pixels, shape)
        self.guide = NoLatents(shape)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The image with its seen quadrants, and the network's mean for the others: [N, *event_shape]."""
        data = self.own_data(x)
        features = self.model.latents_of(data).view(len(data), -1, *self.event_shape)
        return self.model.likelihood.adapt(features, data, len(self.event_shape)).mean
