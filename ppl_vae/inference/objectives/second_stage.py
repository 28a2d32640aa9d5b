r"""A prior that is learned from the codes of a VAE which does not see it: two stages in one run.

    first     the bound under N(0, I), for model and guide
    second    - E_q(z) log p(z), or the prior's own loss, at codes from which no gradient leaves

Model and guide take the steps that they would take without the prior (as in Xiao, Yan & Amit 2019, who stop the
gradient at the codes); it follows their codes, and holds them once they are at rest. Of a model whose other
parameters are fixed (``models.with_new_prior``) only the second is left: a prior learned after training. What is
reported beside it is the ELBO under the learned prior. As

    - E log p(z) = H(q) + KL(q(z) || p(z)),   q(z) = E_x q(z|x)

the second raises this ELBO by what the aggregate posterior comes nearer to the prior.

Xiao, Yan & Amit (2019): https://arxiv.org/abs/1905.10485
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.estimators.elbo import MonteCarloKL
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.terms import Site, Terms


@dataclass(frozen=True)
class LearnedPrior:
    """The optional attribute of a prior that is learned otherwise than by its likelihood.

    Attributes:
        code_loss: from codes [*batch, L] to the scalar that is minimised.
    """

    code_loss: Callable[[Tensor], Tensor] | None = None


class SecondStage(Weighting):
    """An objective under N(0, I), and the loss of the model's own prior at its codes.

    Args:
        elbo: the objective of the first stage, or its name; of draws that can be reparameterised.
        prior: the model's prior; its parameters stay the model's. Where it has a ``code_loss`` that is taken, else
            minus its log density.

    Raises:
        ModelError: the objective uses the score function.
    """

    def __init__(self, elbo: str | Objective, prior: nn.Module) -> None:
        super().__init__(elbo)
        if self.gradient != "total":
            name = type(self.weighted).__name__
            raise ModelError(f"SecondStage needs an objective with the total gradient, which {name} has not")
        # In a tuple, so that nn.Module does not take the prior for a part of the objective.
        self._prior = (prior,)
        self._reported = MonteCarloKL(self.num_particles)

    @property
    def estimator(self) -> Estimator:
        """The plain ELBO under the learned prior, whose KL may have no closed form."""
        return self._reported

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective under N(0, I), nats per datum, plus the prior's loss."""
        site = _codes(terms)
        zero = site.value.new_zeros(site.value.shape[1:])
        standard: dist.TorchDistribution = dist.Normal(zero, 1.0).to_event(1)
        first = replace(terms, sites={site.name: replace(site, p=standard)})
        return self.weighted.forward(first, step) + self.prior_loss(site.draw.reshape(site.value.shape).detach())

    def prior_loss(self, codes: Tensor) -> Tensor:
        """The loss of the prior at codes [K, N, L]: a scalar."""
        (prior,) = self._prior
        own = declared(LearnedPrior, prior).code_loss
        if own is not None:
            return own(codes)
        found: Tensor = -prior().log_prob(codes).mean()
        return found

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"prior={type(self._prior[0]).__name__}"


def _codes(terms: Terms) -> Site:
    if len(terms.sites) != 1:
        raise ModelError(f"a prior of codes needs one latent site, got {list(terms.sites)}")
    (site,) = terms.sites.values()
    if len(site.q.event_shape) != 1 or site.p is None:
        raise ModelError(f"site {site.name!r}: a prior of codes needs codes that are vectors, with a prior")
    require_unmasked(terms)
    return site
