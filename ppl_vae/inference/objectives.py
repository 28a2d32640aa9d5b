"""Objectives that weight the two terms of a bound. The plain ELBO is reported beside every one of them.

    beta                log p(x|z) - beta KL                    (Higgins et al. 2017)
    annealing           log p(x|z) - w(step) KL                 (Bowman et al. 2016; Fu et al. 2019)
    capacity            log p(x|z) - gamma |KL - C(step)|       (Burgess et al. 2018)
    free bits           log p(x|z) - sum_j max(floor, KL_j)     (Kingma et al. 2016)
    reconstruction      -r error(x, E[x|z]) - KL                (the "r_loss_factor" of textbooks)

KLs are sums over latent dimensions and log likelihoods sums over pixels. A loss that averages the squared
error over D pixels and the KL over d dimensions has another weight in these units: beta * d / D.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators import as_objective
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.schedules import Schedule, at, describe
from ppl_vae.inference.terms import Terms

if TYPE_CHECKING:
    from ppl_vae.inference.elbo import Estimator


class Weighting(Objective, ABC):
    """An objective that stands on another; draws and gradients are those of the estimator at the bottom."""

    def __init__(self, elbo: str | Objective) -> None:
        weighted = as_objective(elbo)
        super().__init__(weighted.num_particles)
        self.weighted = weighted
        self.gradient = weighted.gradient
        self.draw_handler = weighted.draw_handler

    @property
    def estimator(self) -> Estimator:
        """The estimator at the bottom."""
        return self.weighted.estimator

    @property
    def num_draws(self) -> int:
        """As many draws as the estimator needs."""
        return self.weighted.num_draws

    def require_separate_kl(self, needs_closed_form: bool = False) -> None:
        """Refuse an estimator from whose bound the KL cannot be taken apart.

        Raises:
            ModelError: the estimator is named.
        """
        name = type(self.estimator).__name__
        if not self.estimator.separates_kl:
            raise ModelError(
                f"{type(self).__name__} needs a bound that is a log likelihood minus a KL; {name} is none. "
                "Use analytic-kl, monte-carlo-kl, entropy or sticking-the-landing"
            )
        if needs_closed_form and name != "AnalyticKL":
            raise ModelError(f"{type(self).__name__} needs closed-form KLs: use it with analytic-kl, not {name}")


class Beta(Weighting):
    """beta times the KL, under any estimator: wherever it uses log q(z|x) - log p(z) or its closed form.

    Args:
        elbo: the estimator or objective that is weighted, or its name.
        beta: at least 0; at 0 only the likelihood is left.
    """

    def __init__(self, elbo: str | Objective, beta: float) -> None:
        super().__init__(elbo)
        if not beta >= 0:
            raise ModelError(f"beta must be at least 0, got {beta}")
        self.beta = beta

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the weighted bound, nats per datum."""
        return self.weighted.forward(terms.weighted(self.beta), step)

    def extra_repr(self) -> str:
        """For manifests."""
        return f"beta={self.beta}"


class Annealed(Weighting):
    """A KL weight that moves with the optimiser step; outside training it is where the schedule ends.

    Args:
        elbo: as for Beta.
        schedule: from ``inference.schedules``: linear, cyclical, sigmoid, ...; it may start at a true zero.
    """

    def __init__(self, elbo: str | Objective, schedule: Schedule) -> None:
        super().__init__(elbo)
        self.schedule = schedule

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the weighted bound, nats per datum."""
        return self.weighted.forward(terms.weighted(at(self.schedule, step, terms.log_likelihood)), step)

    def extra_repr(self) -> str:
        """For manifests."""
        return f"schedule={describe(self.schedule)}"


class Capacity(Weighting):
    """log p(x|z) - gamma |KL - C|: holds the batch's mean KL at C nats, from both sides.

    Args:
        elbo: an estimator that separates its KL, or its name.
        gamma: the weight of the distance (1000 in the paper).
        capacity: C in nats, or a schedule of it; the paper raises it linearly from 0 to 25.
    """

    def __init__(self, elbo: str | Objective, gamma: float, capacity: float | Schedule) -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        self.gamma = gamma
        self.capacity = capacity

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Nats per datum. The absolute value is taken of the batch mean, as in the paper, not per datum."""
        capacity = at(self.capacity, step, terms.log_likelihood) if callable(self.capacity) else self.capacity
        kl = self.estimator.kl(terms).mean()
        return self.gamma * (kl - capacity).abs() - terms.log_likelihood.mean()

    def extra_repr(self) -> str:
        """For manifests."""
        capacity = describe(self.capacity) if callable(self.capacity) else self.capacity
        return f"gamma={self.gamma}, capacity={capacity}"


class FreeBits(Weighting):
    """log p(x|z) - sum_g max(floor, KL_g), KL_g the batch mean of a group of latent dimensions.

    Below the floor a group has exactly no gradient, so it is not pushed towards collapse. The closed form of
    every dimension is needed: a diagonal Gaussian guide and prior.

    Args:
        elbo: "analytic-kl" or an AnalyticKL.
        floor: nats per group.
        group_size: latent dimensions in a group; they are taken in order. None makes each site one group.
    """

    def __init__(self, elbo: str | Objective, floor: float, group_size: int | None = 1) -> None:
        super().__init__(elbo)
        self.require_separate_kl(needs_closed_form=True)
        if not floor >= 0 or (group_size is not None and group_size < 1):
            raise ModelError(f"floor must be at least 0 and group_size at least 1, got {floor} and {group_size}")
        self.floor = floor
        self.group_size = group_size

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Nats per datum."""
        kls = [group for name in terms.sites for group in self._groups(terms, name)]
        return torch.stack(kls).clamp_min(self.floor).sum() - terms.log_likelihood.mean()

    def _groups(self, terms: Terms, site: str) -> list[Tensor]:
        if self.group_size is None:
            return [terms.kl(site).mean()]
        per_dimension = terms.coordinate_kl(site).flatten(2).mean((0, 1))
        return [chunk.sum() for chunk in per_dimension.split(self.group_size)]

    def extra_repr(self) -> str:
        """For manifests."""
        return f"floor={self.floor}, group_size={self.group_size}"


class ReconstructionError(Weighting):
    """factor * error(x, E[x|z]) + KL, the loss of textbooks. It is no bound on log p(x), and is not called one.

    With the mean squared error over D pixels this is, up to a constant factor, the objective of a Gaussian
    likelihood of unit variance with ``beta = D / (2 factor)``.

    Args:
        elbo: an estimator that separates its KL, or its name.
        factor: the weight of the error, the "r_loss_factor".
        error: "mse", or "rmse" (its root, per datum; it corresponds to no likelihood).
    """

    def __init__(self, elbo: str | Objective, factor: float, error: Literal["mse", "rmse"] = "mse") -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        if error not in ("mse", "rmse") or not factor > 0:
            raise ModelError(f"error must be 'mse' or 'rmse' and factor positive, got {error!r} and {factor}")
        self.factor = factor
        self.error = error

    def beta(self, num_pixels: int) -> float:
        """The beta that this factor is, for the mean squared error and a Gaussian of unit variance.

        Raises:
            ModelError: for the root, which corresponds to none.
        """
        if self.error != "mse":
            raise ModelError("only the mean squared error corresponds to a beta")
        return num_pixels / (2 * self.factor)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """In the units of the error; not nats."""
        (observed,) = terms.observations.values()
        event_dims = tuple(range(-len(observed.p.event_shape), 0))
        squared = (observed.value - observed.p.mean).square().mean(event_dims)
        error = squared if self.error == "mse" else squared.sqrt()
        return self.factor * error.mean() + self.estimator.kl(terms).mean()

    def extra_repr(self) -> str:
        """For manifests."""
        return f"factor={self.factor}, error={self.error!r}"
