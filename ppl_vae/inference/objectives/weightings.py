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

from abc import ABC, abstractmethod
from typing import Literal, get_args, overload

import torch
from torch import Tensor

from ppl_vae.checks import positive, real, whole
from ppl_vae.containers import Data
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.estimators.elbo import AnalyticKL
from ppl_vae.inference.estimators.table import as_objective
from ppl_vae.inference.estimators.two_levels import require_uncoupled
from ppl_vae.inference.objectives.schedules import Schedule, at, describe
from ppl_vae.inference.objectives.structural_similarity import ms_ssim
from ppl_vae.inference.pair.admission import as_arguments
from ppl_vae.inference.pair.masked_latents import require_all_observed
from ppl_vae.inference.pair.pair import PairLike, called_with
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.terms import Terms

# Whose KL is weighted: the local sites', or the global ones' as well.
Levels = Literal["local", "both"]


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
        """The number of draws that the estimator needs."""
        return self.weighted.num_draws

    def judge(self, terms: Terms) -> None:
        """Refuse terms that the objective, or the one that it stands on, is not defined for."""
        self.weighted.judge(terms)

    def require_separate_kl(self, needs_closed_form: bool = False) -> None:
        """Refuse an estimator from whose bound the KL cannot be taken apart.

        Raises:
            ModelError: the estimator is named.
        """
        name = type(self.weighted).__name__
        if not isinstance(self.weighted, Estimator) or not self.weighted.separates_kl:
            raise ModelError(
                f"{type(self).__name__} needs a bound that is a log likelihood minus a KL, which {name} is not. "
                "Use analytic-kl, monte-carlo-kl, entropy or sticking-the-landing"
            )
        if needs_closed_form and not isinstance(self.weighted, AnalyticKL):
            raise ModelError(f"{type(self).__name__} needs closed-form KLs: use it with analytic-kl, not {name}")


class KLWeighting(Weighting, ABC):
    """A weight on the KL, under any estimator: wherever it uses log q(z|x) - log p(z) or its closed form.

    The wrapped objective is an estimator, or another objective that passes such a weight on. The weight is on the
    KL of the local sites; with ``levels="both"`` also on that of the global ones.
    """

    passes_kl_weight = True

    def __init__(self, elbo: str | Objective, levels: Levels = "local") -> None:
        super().__init__(elbo)
        if levels not in get_args(Levels):
            raise ModelError(unknown_name("levels", levels, get_args(Levels)))
        self.mean_over_data = self.weighted.mean_over_data
        self.levels = levels
        if not self.weighted.passes_kl_weight:
            inner, outer = type(self.weighted).__name__, type(self).__name__
            raise ModelError(f"{inner} weights the KL itself, and {outer} would not change that weight")

    @abstractmethod
    def weight(self, terms: Terms, step: Tensor | None) -> Tensor | float:
        """The factor of the KL at a step."""

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms that the weighted objective needs, such as those of copies of the data with parts missing."""
        with self.weighted.of_a_set(self.num_total):
            return self.weighted.run(model, guide, *args, **kwargs)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the weighted bound, nats per datum."""
        return self.weighted.forward(self._weighted(terms, step), step)

    def bound(self, terms: Terms) -> Tensor:
        """The weighted bound: [N], nats per datum."""
        if not isinstance(self.weighted, Estimator | KLWeighting):
            raise ModelError(f"{type(self.weighted).__name__} has no value per datum")
        return self.weighted.bound(self._weighted(terms, None))

    def _weighted(self, terms: Terms, step: Tensor | None) -> Terms:
        return terms.weighted(self.weight(terms, step), self.levels == "both")

    def _told_levels(self) -> str:
        """The levels, where they are not the default: manifests of earlier runs say nothing of them."""
        return "" if self.levels == "local" else f", levels={self.levels!r}"

    @overload
    def per_datum(self, pair: PairLike, x: Data, *args: object, **kwargs: object) -> Tensor: ...

    @overload
    def per_datum(self, model: Program, guide: Program, x: Data, *args: object, **kwargs: object) -> Tensor: ...

    def per_datum(self, *args: object, **kwargs: object) -> Tensor:
        """The weighted bound for every datum, from (pair, x, ...) or (model, guide, x, ...): [N], nats; no ELBO.

        Raises:
            ModelError: the pair is refused, or what is weighted has no value per datum.
            DataError: the model's likelihood has no density for some value of x.
        """
        pair, x, further, named = called_with(args, kwargs)
        pair, given, named = as_arguments(pair, x, further, named)
        terms = self.run(pair.model, pair.guide, *given, **named)
        self._judge_once(pair.model, pair.guide, given, named, terms)
        require_uncoupled(terms)
        return self.bound(terms)


class Beta(KLWeighting):
    """The beta-VAE objective: beta times the KL (Higgins et al. 2017).

    Higgins et al. (2017): https://openreview.net/forum?id=Sy2fzU9gl

    Args:
        elbo: the estimator or objective that is weighted, or its name.
        beta: at least 0; at 0 only the likelihood is left.
        levels: whose KL is weighted, "local" or "both"; of a pair without global sites they are the same.
    """

    def __init__(self, elbo: str | Objective, beta: float, levels: Levels = "local") -> None:
        super().__init__(elbo, levels)
        self.beta = real("beta", beta, least=0)

    def weight(self, terms: Terms, step: Tensor | None) -> float:
        """The constant beta."""
        return self.beta

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"beta={self.beta}{self._told_levels()}"


class Annealed(KLWeighting):
    """A KL weight that moves with the optimiser step; outside training it is where the schedule ends.

    Bowman et al. (2016): https://arxiv.org/abs/1511.06349

    Args:
        elbo: as for Beta.
        schedule: from ``inf.schedules``: linear, cyclical, sigmoid, ...; it may start at a true zero.
        levels: as for Beta.
    """

    def __init__(self, elbo: str | Objective, schedule: Schedule, levels: Levels = "local") -> None:
        super().__init__(elbo, levels)
        self.schedule = schedule

    def weight(self, terms: Terms, step: Tensor | None) -> Tensor:
        """The schedule's value."""
        return at(self.schedule, step, terms.log_likelihood)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"schedule={describe(self.schedule)}{self._told_levels()}"


class Capacity(Weighting):
    """The capacity objective log p(x|z) - gamma |KL - C|, which holds the batch's mean KL at C nats.

    KL is that of the local sites; global ones add their plain share of the ELBO.

    Burgess et al. (2018): https://arxiv.org/abs/1804.03599

    Args:
        elbo: an estimator that separates its KL, or its name.
        gamma: the weight of the distance (1000 in the paper).
        capacity: C in nats, or a schedule of it; the paper raises it linearly from 0 to 25.
    """

    def __init__(self, elbo: str | Objective, gamma: float, capacity: float | Schedule) -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        self.gamma = real("gamma", gamma, least=0)
        self.capacity = capacity if callable(capacity) else real("capacity", capacity)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum. The absolute value is of the batch mean, as in the paper."""
        capacity = at(self.capacity, step, terms.log_likelihood) if callable(self.capacity) else self.capacity
        kl = self.estimator.kl(terms).mean()
        return self.gamma * (kl - capacity).abs() - terms.log_likelihood.mean() + self.estimator.global_loss(terms)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        capacity = describe(self.capacity) if callable(self.capacity) else self.capacity
        return f"gamma={self.gamma}, capacity={capacity}"


class FreeBits(Weighting):
    """The free-bits objective log p(x|z) - sum_g max(floor, KL_g), KL_g the batch mean of a group.

    The floor is on local sites; global ones add their plain share of the ELBO. Below the floor a group has exactly
    no gradient, so it is not pushed towards collapse. The closed form of every dimension is needed: a diagonal
    Gaussian guide and prior.

    Kingma et al. (2016): https://arxiv.org/abs/1606.04934

    Args:
        elbo: "analytic-kl" or an AnalyticKL.
        floor: nats per group.
        group_size: latent dimensions in a group; they are taken in order. None makes each site one group.
    """

    def __init__(self, elbo: str | Objective, floor: float, group_size: int | None = 1) -> None:
        super().__init__(elbo)
        self.require_separate_kl(needs_closed_form=True)
        self.floor = real("floor", floor, least=0)
        self.group_size = whole("group_size", group_size)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective: a scalar, nats per datum."""
        terms.require_same_order()
        kls = [group for name in terms.sites for group in self._groups(terms, name)]
        penalty = torch.stack(kls).clamp_min(self.floor).sum()
        return penalty - terms.log_likelihood.mean() + self.estimator.global_loss(terms)

    def _groups(self, terms: Terms, site: str) -> list[Tensor]:
        if self.group_size is None:
            return [terms.kl(site).mean()]
        per_dimension = terms.coordinate_kl(site).mean((0, 1)).flatten()
        return [chunk.sum() for chunk in per_dimension.split(self.group_size)]

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"floor={self.floor}, group_size={self.group_size}"


class ReconstructionError(Weighting):
    """The loss of textbooks, factor * error(x, E[x|z]) + KL, which is no bound on log p(x).

    With the mean squared error over D pixels this is, up to a constant factor, the objective of a Gaussian
    likelihood of unit variance with ``beta = D / (2 factor)``.

    Args:
        elbo: an estimator that separates its KL, or its name.
        factor: the weight of the error, the "r_loss_factor".
        error: "mse", "rmse" (its root, per datum) or "ms-ssim" (1 minus the multi-scale structural similarity of
            images in [0, 1]); the last two correspond to no likelihood.
    """

    mean_over_data = True

    def __init__(
        self, elbo: str | Objective, factor: float, error: Literal["mse", "rmse", "ms-ssim"] = "mse"
    ) -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        if error not in ("mse", "rmse", "ms-ssim"):
            raise ModelError(f"error must be 'mse', 'rmse' or 'ms-ssim', got {error!r}")
        self.factor = positive("factor", factor)
        self.error = error

    def beta(self, num_pixels: int) -> float:
        """The beta that this factor amounts to, for the mean squared error and a Gaussian of unit variance.

        Raises:
            ModelError: for the root, which corresponds to none.
        """
        if self.error != "mse":
            raise ModelError("only the mean squared error corresponds to a beta")
        return num_pixels / (2 * self.factor)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, in the units of the error and not in nats."""
        if len(terms.observations) != 1:
            raise ModelError(
                f"ReconstructionError needs one observed site, the model has {list(terms.observations)}"
            )
        (observed,) = terms.observations.values()
        if observed.standing is not None:
            raise ModelError("ReconstructionError needs its observed site in the data plate alone, at dim -1")
        require_all_observed("an error of reconstruction", terms)
        error = self._error(observed.p.mean, observed.value)
        return self.factor * error.mean() + self.estimator.kl(terms).mean() + self.estimator.global_loss(terms)

    def _error(self, mean: Tensor, x: Tensor) -> Tensor:
        """The error of every reconstruction [*batch, *event_shape] of x [N, *event_shape]: [*batch]."""
        if self.error == "ms-ssim":
            batch = mean.shape[: mean.dim() - x.dim() + 1]
            if x.dim() != 4:
                raise ModelError(f"ms-ssim compares images of event shape (C, H, W), got {tuple(x.shape[1:])}")
            similarity = ms_ssim(mean.flatten(0, -4), x.expand(mean.shape).flatten(0, -4))
            return 1 - similarity.reshape(batch)
        squared = (x - mean).square().mean(tuple(range(1 - x.dim(), 0)))
        return squared if self.error == "mse" else squared.sqrt()

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"factor={self.factor}, error={self.error!r}"
