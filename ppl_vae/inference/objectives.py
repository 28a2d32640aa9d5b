"""Objectives: weightings that wrap an estimator. The plain ELBO is reported beside every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators import as_objective
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.terms import Terms

if TYPE_CHECKING:
    from ppl_vae.inference.elbo import Estimator


class Beta(Objective):
    """log p(x|z) - beta KL(q(z|x) || p(z)) (Higgins et al. 2017), under any estimator.

    beta multiplies log q(z|x) - log p(z), or its closed form, wherever the estimator uses it. The sums are
    over pixels and latent dimensions: a loss that averages over D pixels and d latent dimensions has the
    weight ``beta * d / D`` in these units.

    Args:
        elbo: the estimator or objective that is weighted, or its name.
        beta: at least 0; at 0 only the likelihood is left.
    """

    def __init__(self, elbo: str | Objective, beta: float) -> None:
        inner = as_objective(elbo)
        super().__init__(inner.num_particles)
        if not beta >= 0:
            raise ModelError(f"beta must be at least 0, got {beta}")
        self.weighted = inner
        self.gradient = inner.gradient
        self.beta = beta

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the weighted bound, nats per datum."""
        return self.weighted.forward(terms.weighted(self.beta), step)

    @property
    def estimator(self) -> Estimator:
        """The estimator under the weight."""
        return self.weighted.estimator

    @property
    def num_draws(self) -> int:
        """As many draws as the estimator needs."""
        return self.weighted.num_draws

    def extra_repr(self) -> str:
        """For manifests."""
        return f"beta={self.beta}"
