r"""The conditional VAE, p(x|y) of a class y that is always known (Kingma et al. 2014; Sohn, Lee & Yan 2015).

    model:  z ~ N(0, I), or z ~ p(z|y),   x ~ p(x | decoder(y, z))
    guide:  z ~ q(z | x, y)

The class says what it is, the code what varies within it. Both programs take labels y [N], integers; the bound is
one on log p(x|y), in which no p(y) counts. Where it is given nothing the model draws classes too, all equally
likely. Sites: "z" and "x", and "y" where the model draws it.

Kingma, Mohamed, Rezende & Welling (2014): https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import indicator, known_labels, required_labels
from ppl_vae.models.labelled.category_and_code import CategoryAndCode, CategoryAndCodePair, code_given_category
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, checked_size, on_request
from ppl_vae.models.programs import Recognition
from ppl_vae.randomness import seeded

PRIORS = ("standard", "conditional")


class ConditionalProgram(CategoryAndCode):
    """The program p(z) p(x|y, z), or p(z|y) p(x|y, z), given y; its arguments are those of ``CategoryAndCode``."""

    takes_labels = True

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return len(self.logits)

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, given labels y [N], conditioned on x [N, *event_shape] or drawing x.

        Without x and y it draws ``size`` data, their classes too.

        Raises:
            ModelError: x comes without y, nothing is given at all, or x or y has another shape.
        """
        if y is None:
            if x is not None:
                raise ModelError(f"site 'x': p(x|y) needs labels y of shape [{len(x)}], integers, beside x")
            return self.run(self.latents, None, size)
        # A draw is no training step, in which no value may be looked at.
        labels = known_labels(y, len(y), self.num_classes) if x is None else required_labels(y, len(x))
        code = indicator(labels, self.num_classes, self.logits)
        return self.run(functools.partial(self.latents_of, code), x, len(labels))


class ConditionalGuide(Recognition):
    """The guide q(z|x, y).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_classes: C.
        conditional: features and one-hot y [B, H + C] -> q(z|x, y).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.num_classes = num_classes
        self.conditional = conditional

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run the program: it draws z [N, L] from q(z|x, y).

        Raises:
            ModelError: x or y has another shape, or y is missing.
        """
        size = self.begin(x)
        if y is None:
            raise ModelError(f"site 'z': q(z|x, y) needs labels y of shape [{size}], integers, beside x")
        with pyro.plate("data", size):
            return pyro.sample("z", self.encode(x, required_labels(y, size)))

    def encode(self, x: Tensor, y: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of x [N, *event_shape] and labels [N]: batch shape [N], event shape [L]."""
        features = self.features(x)
        return self.conditional(torch.cat([features, indicator(y, self.num_classes, features)], -1))


class ConditionalVAE(CategoryAndCodePair):
    """A model p(x|y) with a code "z" for the variation within a class.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        num_classes: C.
        network: as of SemiSupervisedVAE.
        hidden: the same.
        likelihood: the same.
        prior: "standard", z independent of y; or "conditional", a Gaussian for every class.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "conditional"
    latent_dim: int
    model: ConditionalProgram
    guide: ConditionalGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 10,
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        prior: str = "standard",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_classes = checked_size("num_classes", num_classes)
        if prior not in PRIORS:
            raise ModelError(unknown_name("prior", prior, PRIORS))
        family = self.infer(posterior)
        with seeded(seed):
            encoder, decoder = self.networks(network, self.num_classes + self.latent_dim, observed)
            conditional = code_given_category(encoder, shape, self.num_classes, hidden, family, self.latent_dim)
            self.model = ConditionalProgram(self.num_classes, self._prior(prior), decoder, observed, shape)
            self.guide = ConditionalGuide(encoder, self.num_classes, conditional, shape, observed.allows_missing)

    def _prior(self, name: str) -> nn.Module:
        if name == "conditional":
            return Conditional(nn.Identity(), DiagonalPosterior(), self.num_classes, self.latent_dim)
        prior = StandardNormalPrior()
        prior.build(self.latent_dim)
        return prior

    @on_request
    def encode(self, x: Array, y: Array) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of x [N, *event_shape] and classes [N]: batch shape [N], event shape [L]."""
        data = self.own_data(x)
        labels = known_labels(to_tensor(y, "y").to(data.device), len(data), self.num_classes)
        return self.guide.encode(data, labels)

    @torch.no_grad()
    def reconstruct(self, x: Array, y: Array) -> Tensor:
        """The mean of p(x|y, z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x, y).mean, y).mean
