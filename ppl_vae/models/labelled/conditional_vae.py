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
from typing import Any

import pyro
import torch
from numpy.typing import ArrayLike
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import to_tensor
from ppl_vae.checks import integer
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.exclusive import exclusive
from ppl_vae.models.conditional import Conditional
from ppl_vae.models.gradients import on_request
from ppl_vae.models.labelled.category import (
    checked_code,
    indicator,
    known_labels,
    one_for_each,
    one_hot,
    required_labels,
)
from ppl_vae.models.likelihoods.likelihoods import Likelihood
from ppl_vae.models.likelihoods.likelihoods import likelihood as make_likelihood
from ppl_vae.models.parts import own_config
from ppl_vae.models.posteriors.posteriors import POSTERIORS, DiagonalPosterior
from ppl_vae.models.posteriors.posteriors import posterior as make_posterior
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import (
    Network,
    ProgramPair,
    checked_shape,
    checked_size,
    likelihood_config,
    network_config,
    networks,
)
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.networks import MLP
from ppl_vae.precision import widened
from ppl_vae.randomness import seeded

PRIORS = ("standard", "conditional")


class ConditionalProgram(LatentVariableProgram):
    """The program p(z) p(x|y, z), or p(z|y) p(x|y, z).

    Args:
        num_classes: C.
        prior: gives p(z); or p(z|y) of one-hot y, where it is a Conditional.
        decoder: [B, C + L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|y, z).
        event_shape: the shape of one datum.
    """

    takes_labels = True
    logits: Tensor

    def __init__(
        self,
        num_classes: int,
        prior: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.num_classes = num_classes
        self.prior = prior
        self.register_buffer("logits", torch.zeros(num_classes), persistent=False)

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor:  # type: ignore[override]
        """Run the program, given labels y [N], conditioned on x [N, *event_shape] or drawing x.

        Without x and y it draws ``size`` data, their classes too.

        Raises:
            ModelError: x comes without y, nothing is given at all, or x or y has another shape.
        """
        if y is None:
            if x is not None:
                raise ModelError(f"site 'x': p(x|y) needs labels y of shape [{len(x)}], integers, beside x")
            return super().forward(None, size)
        # A draw is no training step, in which no value may be looked at.
        labels = known_labels(y, len(y), self.num_classes) if x is None else required_labels(y, len(x))
        code = indicator(labels, self.num_classes, self.logits)
        return self.run(functools.partial(self.latents_of, code), x, len(labels))

    def latents(self) -> Tensor:
        """Draw y, uniform, and z: [*batch, C + L]."""
        return self.latents_of(pyro.sample("y", dist.OneHotCategorical(logits=widened(self.logits))))

    def latents_of(self, y: Tensor) -> Tensor:
        """Draw z of one-hot classes [*batch, C], behind which it stands: [*batch, C + L]."""
        z = pyro.sample("z", self.code(y))
        return torch.cat([y.expand(*z.shape[:-1], -1), z], -1)

    def code(self, y: Tensor) -> dist.TorchDistribution:
        """The prior p(z), or p(z|y) of one-hot classes [*batch, C]: event shape [L]."""
        return self.prior(y) if isinstance(self.prior, Conditional) else self.prior()


class ConditionalGuide(Recognition):
    """The guide q(z|x, y).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_classes: C.
        conditional: features and one-hot y [B, H + C] -> q(z|x, y).
        event_shape: the shape of one datum.
        allows_missing: whether NaN in x stands for a missing coordinate, which the encoder sees as 0.
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


class ConditionalVAE(ProgramPair):
    """A model p(x|y) with a code "z" for the variation within a class.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        num_classes: C.
        network: as of VAE; a decoder of the user's own maps [B, C + L].
        hidden: the hidden layers between the encoder's features with y and q(z|x, y).
        likelihood: as of VAE.
        prior: "standard", z independent of y; or "conditional", a Gaussian for every class.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    model: ConditionalProgram
    guide: ConditionalGuide

    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 10,
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: str | dict[str, Any] | Likelihood = "bernoulli",
        prior: str = "standard",
        posterior: str | dict[str, Any] | nn.Module = "diagonal",
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.event_shape = shape = checked_shape(event_shape)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_classes = checked_size("num_classes", num_classes)
        if prior not in PRIORS:
            raise ModelError(unknown_name("prior", prior, PRIORS))
        observed, family = make_likelihood(likelihood), make_posterior(posterior)
        with seeded(seed):
            encoder, decoder = networks(network, shape, self.num_classes + self.latent_dim, observed)
            size = num_features(encoder, shape) + self.num_classes
            conditional = Conditional(MLP(tuple(hidden)).encoder((size,)), family, size, self.latent_dim)
            self.model = ConditionalProgram(self.num_classes, self._prior(prior), decoder, observed, shape)
            self.guide = ConditionalGuide(encoder, self.num_classes, conditional, shape, observed.allows_missing)
        self.config = {
            "model": "conditional",
            "event_shape": list(shape),
            "latent_dim": self.latent_dim,
            "num_classes": self.num_classes,
            "network": network_config(network),
            "hidden": list(hidden),
            "likelihood": likelihood_config(observed),
            "prior": prior,
            "posterior": own_config(family, POSTERIORS),
        }

    def _prior(self, name: str) -> nn.Module:
        if name == "conditional":
            return Conditional(nn.Identity(), DiagonalPosterior(), self.num_classes, self.latent_dim)
        prior = StandardNormalPrior()
        prior.build(self.latent_dim)
        return prior

    @on_request
    def encode(self, x: ArrayLike | Tensor, y: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of x [N, *event_shape] and classes [N]: batch shape [N], event shape [L]."""
        data = self.own_data(x)
        labels = known_labels(to_tensor(y, "y").to(data.device), len(data), self.num_classes)
        return self.guide.encode(data, labels)

    @on_request
    def decode(self, z: ArrayLike | Tensor, y: ArrayLike | Tensor) -> dist.TorchDistribution:
        """The likelihood p(x|y, z) for codes [*batch, L] and classes, integers [*batch] or one-hot [*batch, C]."""
        codes = checked_code(self.to_own(z), self.latent_dim)
        label = one_hot(to_tensor(y, "y").to(codes.device), self.num_classes, codes)
        return self.model.decode(torch.cat([label, codes], -1))

    @torch.no_grad()
    def reconstruct(self, x: ArrayLike | Tensor, y: ArrayLike | Tensor) -> Tensor:
        """The mean of p(x|y, z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x, y).mean, y).mean

    @exclusive()
    @torch.no_grad()
    def sample(self, n: int, with_noise: bool = False, y: ArrayLike | Tensor | None = None) -> Tensor:
        """The mean of p(x|y, z) at n draws of z, and of y where it is not given: [n, *event_shape].

        Args:
            n: how many.
            with_noise: draw x itself.
            y: their classes, one for all or [n].

        Draws come from torch's global generator.
        """
        if y is None:
            return super().sample(n, with_noise)
        labels = one_for_each(to_tensor(y, "y").to(self.model.logits.device), integer("n", n))
        code = one_hot(labels, self.num_classes, self.model.logits.expand(n, -1))
        with pyro.poutine.block(), pyro.plate("data", n):
            likelihood = self.model.decode(self.model.latents_of(code))
        return likelihood.sample() if with_noise else likelihood.mean
