r"""Adversarial objectives by the protocol of ``density_ratio``: a discriminator that is trained in the same loss.

    adversarial prior    score - gamma E_q(z) log q(z) / p(z)                               (Makhzani et al. 2015)
    adversarial images   - KL - weight 1/2 |f(x) - f(x')|^2 + gamma log D(x') / (1 - D(x'))   (Larsen et al. 2016)

The first tells codes from draws of the prior and so holds the aggregate posterior to it; with the reconstruction
alone as the score it is the adversarial autoencoder. The second, VAE-GAN, tells data from their reconstructions
x' = E[x|z]; f is the discriminator's last hidden layer, in which the two are compared in place of their pixels. The
discriminator's cross entropy E is added as E - E, one of them a constant, so that gradients reach disjoint
parameters. Neither is a bound.

In the paper the encoder is spared the second's log odds; here it has them too. Draws from the prior are not shown
to the discriminator, because terms hold none.

Makhzani, Shlens, Jaitly, Goodfellow & Frey (2015): https://arxiv.org/abs/1511.05644
Larsen, Soenderby, Larochelle & Winther (2016): https://arxiv.org/abs/1512.09300
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ppl_vae.checks import positive, real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.density_ratio import Discriminator
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_all_observed, require_unmasked
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.registration import register


class Adversarial(Weighting, ABC):
    """An objective with a discriminator of its own, which is made when a pair is first run.

    Args:
        elbo: the objective that it is added to, or its name; any with reparameterised draws.
        gamma: the weight of the log odds, at least 0.
        hidden: the discriminator's layers, of leaky rectifiers.
        discriminator_lr: its learning rate under ``fit``; the run's own if None.
    """

    def __init__(
        self,
        elbo: str | Objective,
        gamma: float = 1.0,
        hidden: Sequence[int] = (256, 256),
        discriminator_lr: float | None = None,
    ) -> None:
        super().__init__(elbo)
        if self.gradient == "score":
            name = type(self.weighted).__name__
            raise ModelError(f"{type(self).__name__} needs reparameterised draws, which {name} does not use")
        self.gamma = real("gamma", gamma, least=0)
        self.discriminator = Discriminator(hidden)
        self.optimizer_options: dict[str, object] = {"betas": (0.5, 0.9)}
        if discriminator_lr is not None:
            self.optimizer_options["lr"] = positive("discriminator_lr", discriminator_lr)

    @abstractmethod
    def made(self, terms: Terms) -> Tensor:
        """The things that the guide or the model has made, with gradients: [n, D]."""

    @abstractmethod
    def true(self, terms: Terms) -> Tensor:
        """The things that it is to be mistaken for: [m, D]."""

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms that ``forward`` needs; the first ones say how large the discriminator has to be."""
        terms = super().run(model, guide, *args, **kwargs)
        self.discriminator.make(self.made(terms).detach())
        register(self.discriminator.instance, self.discriminator)
        return terms

    def reset(self) -> None:
        """Forget the discriminator."""
        super().reset()
        self.discriminator.network = None

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum where the score is."""
        made, true = self.made(terms), self.true(terms)
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        odds: Tensor = torch.func.functional_call(self.discriminator, fixed, (made,))
        of_true, of_made = self.discriminator(true.detach()), self.discriminator(made.detach())
        cross_entropy = 0.5 * (softplus(-of_true).mean() + softplus(of_made).mean())
        return self.rest(terms, step) - self.gamma * odds.mean() + cross_entropy - cross_entropy.detach()

    @abstractmethod
    def rest(self, terms: Terms, step: Tensor | None) -> Tensor:
        """The part of the loss beside the log odds: a scalar."""

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        rate = self.optimizer_options.get("lr")
        return f"gamma={self.gamma}" + ("" if rate is None else f", discriminator_lr={rate}")


class AdversarialPrior(Adversarial):
    """The codes are to be mistaken for draws of the prior: one latent site of vectors."""

    def made(self, terms: Terms) -> Tensor:
        """The codes as the guide drew them: [K N, L]."""
        if len(terms.sites) != 1:
            raise ModelError(f"the adversarial prior needs one latent site, got {list(terms.sites)}")
        (site,) = terms.sites.values()
        if len(site.q.event_shape) != 1 or site.p is None:
            raise ModelError(
                f"site {site.name!r}: the adversarial prior needs codes that are vectors, with a prior"
            )
        require_unmasked(terms)
        return site.draw.reshape(-1, site.value.shape[-1])

    def true(self, terms: Terms) -> Tensor:
        """Draws of the prior, as many: [K N, L]."""
        (site,) = terms.sites.values()
        if site.p is None:
            raise ModelError(f"site {site.name!r} has no prior")
        return site.p.expand(site.value.shape[:-1]).sample().flatten(0, -2)

    def rest(self, terms: Terms, step: Tensor | None) -> Tensor:
        """Minus the score."""
        return self.weighted.forward(terms, step)


class AdversarialImages(Adversarial):
    """Reconstructions are to be mistaken for data, and are compared with them in the discriminator's features.

    Args:
        elbo: the estimator whose KL is taken, or its name.
        gamma: the weight of the log odds.
        weight: of half the squared distance in the discriminator's last hidden layer.
        pixels: the weight of the log likelihood, which the paper leaves out.
        hidden: the discriminator's layers, of leaky rectifiers.
        discriminator_lr: its learning rate under ``fit``; the run's own if None.
    """

    def __init__(
        self,
        elbo: str | Objective,
        gamma: float = 1.0,
        weight: float = 1.0,
        pixels: float = 0.0,
        hidden: Sequence[int] = (256, 256),
        discriminator_lr: float | None = None,
    ) -> None:
        super().__init__(elbo, gamma, hidden, discriminator_lr)
        self.require_separate_kl()
        self.pixels = real("pixels", pixels, least=0)
        self.weight = real("weight", weight, least=0)

    def made(self, terms: Terms) -> Tensor:
        """The means of p(x|z): [K N, D]."""
        if len(terms.observations) != 1:
            raise ModelError(f"adversarial images need one observed site, got {list(terms.observations)}")
        require_all_observed("a distance of images", terms)
        (observed,) = terms.observations.values()
        return observed.p.mean.reshape(-1, observed.value[0].numel())

    def true(self, terms: Terms) -> Tensor:
        """The data: [N, D]."""
        (observed,) = terms.observations.values()
        return observed.value.flatten(1)

    def rest(self, terms: Terms, step: Tensor | None) -> Tensor:
        """The KL, and half the squared distance of data and reconstructions in the features, held fixed."""
        made, true = self.made(terms), self.true(terms)
        seen, wanted = self.discriminator.features(made), self.discriminator.features(true)
        distance = (seen.unflatten(0, (-1, len(true))) - wanted).square().sum(-1).mean()
        of_pixels = self.pixels * terms.log_likelihood.mean()
        return self.estimator.kl(terms).mean() + 0.5 * self.weight * distance - of_pixels

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"{super().extra_repr()}, weight={self.weight}, pixels={self.pixels}"
