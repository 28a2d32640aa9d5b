r"""Objectives that show a pair its data again with some coordinates missing, such as all but one modality.

    partly hidden     (bound(x) + sum_s w bound(x_s)) / (1 + w S)                         (Wu & Goodman 2018, eq. 5)
    distilled         bound(x) + 1/S sum_s E_q(z|x) log q(z | x_s), the last q's parameters alone
    (Senellart, Chadebec & Allassonniere 2023, eq. 7)

x_s is x with the coordinates of the mask s set to NaN; the model knows what is missing (``allows_missing``).
Without the first a guide that multiplies experts is trained on complete data alone, and its answer to a part of
them is whatever comes out. The second fits guides of a part to the guide of the whole, which stays as it is.

Wu & Goodman (2018): https://arxiv.org/abs/1802.05335
Senellart, Chadebec & Allassonniere (2023): https://arxiv.org/abs/2312.14085
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.estimators.two_levels import require_one_level
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.terms import Terms


class HiddenCoordinates(Weighting):
    """An objective that runs the pair on a batch and on copies of it with coordinates missing.

    Args:
        elbo: the estimator, or its name.
        hidden: the masks [S, *event_shape], True where a coordinate is missing in copy s.

    Raises:
        ModelError: the mask is no tensor of booleans, or the estimator is another objective.
    """

    hidden: Tensor

    def __init__(self, elbo: str | Objective, hidden: Tensor) -> None:
        super().__init__(elbo)
        if not isinstance(self.weighted, Estimator) or self.draw_handler is not None:
            name = type(self.weighted).__name__
            raise ModelError(f"{type(self).__name__} needs an estimator of draws that are all alike, not {name}")
        if not isinstance(hidden, Tensor) or hidden.dtype != torch.bool or hidden.dim() < 2:
            raise ModelError("hidden must be a tensor of booleans [S, *event_shape]")
        self.register_buffer("hidden", hidden.clone(), persistent=False)

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms of x and, behind them, of every copy: [K, (1 + S) N].

        Raises:
            ModelError: the model knows no missing coordinates, or takes more than x.
        """
        if not traits(model).allows_missing:
            raise ModelError(
                f"{type(self).__name__} hides coordinates, and the model does not say allows_missing = True"
            )
        x, *further = args
        if further or kwargs or not isinstance(x, Tensor):
            raise ModelError(f"{type(self).__name__} needs a pair of x alone")
        if x.shape[1:] != self.hidden.shape[1:]:
            raise ModelError(f"hidden is for data of shape {list(self.hidden.shape[1:])}, got {list(x.shape[1:])}")
        nothing = torch.full((), torch.nan, dtype=x.dtype, device=x.device)
        copies = torch.where(self.hidden.to(x.device).unsqueeze(1), nothing, x)
        terms = super().run(model, guide, torch.cat([x, copies.flatten(0, 1)]))
        return replace(terms, copies=1 + len(self.hidden))

    def copies_of(self, terms: Terms, numbers: Tensor) -> Tensor:
        """Numbers of the data and their copies, [..., (1 + S) N], as [..., 1 + S, N].

        Raises:
            ModelError: the terms are not of this objective's own run; or a site is global.
        """
        name = type(self).__name__
        require_one_level(f"{name} takes data and their copies apart", terms)
        if terms.copies != 1 + len(self.hidden):
            raise ModelError(
                f"{name} needs terms of its own run(), with the copies in them: put nothing on top but a KL weight"
            )
        return numbers.unflatten(-1, (terms.copies, -1))

    def bounds(self, terms: Terms) -> Tensor:
        """The bound of the data and of their copies, with the estimator's gradient: [1 + S, N], nats."""
        bound, surrogate = self.estimator.bound(terms), self.estimator.surrogate(terms)
        if surrogate is not None:
            bound = surrogate + (bound - surrogate).detach()
        return self.copies_of(terms, bound)


class PartlyHidden(HiddenCoordinates):
    """The mean of the bounds of x and of its copies with coordinates missing; a weight on the KL is one on all.

    Args:
        elbo: the estimator, or its name.
        hidden: the masks [S, *event_shape], True where a coordinate is missing in copy s.
        weight: of a copy's bound beside that of x.
    """

    def __init__(self, elbo: str | Objective, hidden: Tensor, weight: float = 1.0) -> None:
        super().__init__(elbo, hidden)
        self.passes_kl_weight = self.weighted.passes_kl_weight
        self.weight = real("weight", weight, least=0)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the weighted mean of the bounds, nats per datum."""
        whole, *parts = self.bounds(terms).mean(-1)
        return -(whole + self.weight * torch.stack(parts).sum()) / (1 + self.weight * len(parts))

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"copies={len(self.hidden)}, weight={self.weight}"


class DistilledConditionals(HiddenCoordinates):
    """The bound of x, and the log density of the copies' guides at draws from the guide of x, which are constants.

    The guide of a part must share no parameters with that of the whole, or these would follow it.
    """

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum."""
        return -self.bounds(terms)[0].mean() - self.conditional_log_density(terms).mean()

    def conditional_log_density(self, terms: Terms) -> Tensor:
        """The log density log q(z | x_s) at draws z from q(z|x), a constant: [K, S, N], nats.

        Raises:
            ModelError: the guide draws several sites.
        """
        if len(terms.sites) != 1:
            raise ModelError(f"DistilledConditionals needs one latent site, got {list(terms.sites)}")
        (site,) = terms.sites.values()
        copies = terms.copies
        first = site.value.detach().unflatten(1, (copies, -1))[:, :1]
        draws = first.expand(-1, copies, *first.shape[2:]).flatten(1, 2)
        return self.copies_of(terms, site.q.log_prob(draws).expand(draws.shape[:2]))[:, 1:]

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"copies={len(self.hidden)}"
