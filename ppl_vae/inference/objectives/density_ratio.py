r"""The total correlation of the aggregate posterior by a density ratio (FactorVAE, Kim & Mnih 2018).

    log p(x|z) - KL - gamma TC(q(z)),    TC = E_q(z) log q(z) / prod_j q(z_j) ~= E_q(z) log D(z) / (1 - D(z))

D, the discriminator, tells codes of q(z) from codes whose coordinates were permuted over the batch, each for
itself, which are draws of prod_j q(z_j). The best D has exactly this log ratio.

Kim & Mnih (2018): https://arxiv.org/abs/1802.05983
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.checks import positive, real, whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.registration import InstanceName, register


class DensityRatio(Weighting):
    """An objective plus gamma times the total correlation, whose discriminator it owns and trains in the same step.

    The loss is the model's own; the discriminator's cross entropy E is added as E - E, one of them a constant. No
    gradient of the penalty reaches the discriminator and none of its own leaves it. Real codes come from one half
    of the batch and permuted ones from the other, so that the two are independent.

    The discriminator is made when a pair is first run, as large as its codes. Stock SVI trains it too; for an
    optimiser of one's own run ``elbo(model, guide)`` once before its ``parameters()`` are taken.

    Args:
        elbo: what is penalised, or its name; any with reparameterised draws.
        gamma: the weight of the total correlation, at least 0.
        hidden: the discriminator's layers, of leaky rectifiers; six of 1000 units in the paper.
        discriminator_lr: its learning rate under ``fit``; the run's own if None.
    """

    least_batch = 4

    def __init__(
        self,
        elbo: str | Objective,
        gamma: float = 35.0,
        hidden: Sequence[int] = (1000,) * 6,
        discriminator_lr: float | None = None,
    ) -> None:
        super().__init__(elbo)
        self.discriminator_lr = None if discriminator_lr is None else positive("discriminator_lr", discriminator_lr)
        # The paper's Adam for the discriminator.
        self.optimizer_options: dict[str, object] = {"betas": (0.5, 0.9)}
        if self.discriminator_lr is not None:
            self.optimizer_options["lr"] = self.discriminator_lr
        if self.gradient == "score":
            name = type(self.weighted).__name__
            raise ModelError(f"DensityRatio needs reparameterised draws, which {name} does not use")
        self.gamma = real("gamma", gamma, least=0)
        self.discriminator = Discriminator(hidden)

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms that ``forward`` needs; the first ones say how large the discriminator has to be."""
        terms = super().run(model, guide, *args, **kwargs)
        self.discriminator.make(_codes(terms))
        register(self.discriminator.instance, self.discriminator)
        return terms

    def reset(self) -> None:
        """Forget the discriminator."""
        super().reset()
        self.discriminator.network = None

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum, plus the weighted total correlation."""
        penalised = self.weighted.forward(terms, step) + self.gamma * self.total_correlation(terms)
        cross_entropy = self.cross_entropy(terms)
        return penalised + cross_entropy - cross_entropy.detach()

    def total_correlation(self, terms: Terms) -> Tensor:
        """The mean log ratio at a batch's codes, the discriminator held fixed: a scalar, nats."""
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        ratio: Tensor = torch.func.functional_call(self.discriminator, fixed, (_codes(terms),))
        return ratio.mean()

    def cross_entropy(self, terms: Terms) -> Tensor:
        """The discriminator's cross entropy, the codes held fixed: a scalar, nats; log 2 where it knows nothing."""
        codes = _codes(terms).detach()
        half = codes.shape[1] // 2
        if codes.shape[1] < self.least_batch:
            raise ModelError(f"the density ratio needs batches of at least {self.least_batch} data")
        of_real = self.discriminator(codes[:, :half])
        of_permuted = self.discriminator(permute_coordinates(codes[:, half:]))
        return 0.5 * (softplus(-of_real).mean() + softplus(of_permuted).mean())

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        rate = "" if self.discriminator_lr is None else f", discriminator_lr={self.discriminator_lr}"
        return f"gamma={self.gamma}{rate}"


class Discriminator(nn.Module):
    """A network from codes [*batch, L] to log D / (1 - D) [*batch], made when the first codes are seen.

    Args:
        hidden: units of the layers.
    """

    def __init__(self, hidden: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(hidden, Sequence):
            raise ModelError(f"hidden must be a sequence of layers' sizes such as (1000, 1000), got {hidden!r}")
        self.hidden = tuple(whole("hidden", units) for units in hidden)
        self.network: nn.Module | None = None
        self.instance = InstanceName("discriminator")

    def make(self, codes: Tensor) -> None:
        """Make the network for codes like these, unless there is one."""
        if self.network is not None:
            return
        # A new network must not take the numbers that an earlier one left in the store.
        self.instance = InstanceName("discriminator")
        layers: list[nn.Module] = []
        width = codes.shape[-1]
        for units in self.hidden:
            layers += [nn.Linear(width, units), nn.LeakyReLU(0.2)]
            width = units
        self.network = nn.Sequential(*layers, nn.Linear(width, 1)).to(codes)

    def forward(self, codes: Tensor) -> Tensor:
        """The log odds log D / (1 - D) [*batch] of codes [*batch, L].

        Raises:
            ModelError: nothing has been made yet.
        """
        if self.network is None:
            raise ModelError(
                "there is no discriminator yet, nor another network of the objective: trace terms by its own "
                "run(), and put no objective on top"
            )
        ratio: Tensor = self.network(codes).squeeze(-1)
        return ratio

    def features(self, codes: Tensor) -> Tensor:
        """The last hidden layer [*batch, H] of codes [*batch, L], the parameters held fixed.

        Raises:
            ModelError: nothing has been made yet.
        """
        if not isinstance(self.network, nn.Sequential):
            raise ModelError("there is no discriminator yet: trace terms by the objective's own run()")
        body = self.network[:-1]
        fixed = {name: parameter.detach() for name, parameter in body.named_parameters()}
        found: Tensor = torch.func.functional_call(body, fixed, (codes,))
        return found

    def __repr__(self) -> str:
        # The same before and after it is made, since manifests are compared when a run is resumed.
        return f"Discriminator(hidden={self.hidden})"


def permute_coordinates(codes: Tensor) -> Tensor:
    """Permute every coordinate of codes [K, N, L] over the N data, each for itself."""
    order = torch.rand_like(codes).argsort(1)
    return codes.gather(1, order)


def _codes(terms: Terms) -> Tensor:
    """The codes [K, N, L] as the guide drew them: an estimator's changes to the model's copy do not reach them."""
    if len(terms.sites) != 1:
        raise ModelError(f"the aggregate posterior needs one latent site, got {list(terms.sites)}")
    (site,) = terms.sites.values()
    if len(site.q.event_shape) != 1:
        raise ModelError(
            f"site {site.name!r}: the aggregate posterior needs codes that are vectors, got event shape "
            f"{tuple(site.q.event_shape)}"
        )
    require_unmasked(terms)
    return site.draw.reshape(site.value.shape)
