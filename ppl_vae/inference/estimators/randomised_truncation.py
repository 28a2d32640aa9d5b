r"""log p(x) without bias, by a series of bounds that is cut off at random ("Russian roulette").

    log p(x) = L_m + sum_{j >= 1} D_j,      estimate = L_m + sum_{j = 1}^{J} D_j / P(J' >= j),      J ~ P

"sumo"        D_j = L_m+j - L_m+j-1                                                        (Luo et al. 2020)
"multilevel"  D_j = L_2^j m - (L of its first half + L of its second half) / 2          (Shi & Cornish 2021)

L_k is the bound of the first k weights. SUMO's terms fall like 1 / j and its probabilities like 1 / j, so that its
variance need not exist; the antithetic halves of "multilevel" take the first order of the differences off, whose
squares then fall faster than its probabilities, 2^(-3j/2), and both variance and expected cost are finite.

Luo, Beatson, Norouzi, Zhu, Duvenaud, Adams & Chen (2020), eq. 5 and 8: https://arxiv.org/abs/2004.00353
Shi & Cornish (2021): https://proceedings.mlr.press/v130/shi21d.html
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.estimators.two_levels import require_all_members, require_one_level
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.terms import Terms

Series = Literal["sumo", "multilevel"]
# From here on the probabilities of SUMO fall by a tenth a term, without which the expected cost would be infinite.
TAIL_FROM, TAIL = 80, 0.9
DECAY = 1.5


class RandomisedTruncation(Estimator):
    """log p(x) and its gradient without bias, from a random number of draws; all data of a batch have the same.

    The estimate of a datum may lie above log p(x): it is no bound. Batches share their number of terms, so that the
    errors of data in one batch are not independent. Steps are taken as they are: a captured step would always
    have the same number.

    Args:
        num_particles: m, the draws of the first bound.
        series: "sumo" or "multilevel".
    """

    def __init__(self, num_particles: int = 2, series: Series = "sumo") -> None:
        super().__init__(num_particles)
        if series not in get_args(Series):
            raise ModelError(unknown_name("series", series, get_args(Series)))
        self.series: Series = series
        # How many numbers were drawn: state that moves, by which a captured step is refused.
        self.num_truncations = 0
        self._num_terms: int | None = None

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms of m draws and of those that a random number of further terms needs."""
        self.num_truncations += 1
        self._num_terms = draw_num_terms(self.series)
        return super().run(model, guide, *args, **kwargs)

    @property
    def num_draws(self) -> int:
        """The number of draws of the last run, or of one without a further term."""
        return self.draws_of(self._num_terms or 0)

    def draws_of(self, num_terms: int) -> int:
        """The number of draws that so many further terms need."""
        return self.num_particles + num_terms if self.series == "sumo" else self.num_particles * 2**num_terms

    def bound(self, terms: Terms) -> Tensor:
        """The estimate of every datum: [N], nats; no bound.

        Raises:
            ModelError: the terms are not of the estimator's own last run, whose number of draws was drawn.
        """
        require_all_members("RandomisedTruncation", terms)
        require_one_level("log p(x|g) without bias", terms)
        log_weight = terms.log_weight
        if self._num_terms is None or len(log_weight) != self.draws_of(self._num_terms):
            raise ModelError(
                "RandomisedTruncation needs terms of its own run(), which draws how many there are: put no "
                "objective on top"
            )
        if self.series == "sumo":
            return self._sumo(log_weight)
        return self._multilevel(log_weight, self._num_terms)

    def _sumo(self, log_weight: Tensor) -> Tensor:
        count = len(log_weight)
        number = torch.arange(1, count + 1, dtype=log_weight.dtype, device=log_weight.device).unsqueeze(1)
        bounds = (log_weight.logcumsumexp(0) - number.log())[self.num_particles - 1 :]
        chance = log_weight.new_tensor([survival(self.series, j) for j in range(1, len(bounds))]).unsqueeze(1)
        return bounds[0] + (bounds.diff(dim=0) / chance).sum(0)

    def _multilevel(self, log_weight: Tensor, num_terms: int) -> Tensor:
        estimate = log_mean_exp(log_weight[: self.num_particles])
        for j in range(1, num_terms + 1):
            own = log_weight[: self.num_particles * 2**j]
            halves = log_mean_exp(own.unflatten(0, (2, -1)), dim=1).mean(0)
            estimate = estimate + (log_mean_exp(own) - halves) / survival(self.series, j)
        return estimate

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, series={self.series!r}"


def survival(series: Series, j: int) -> float:
    """The probability P(J >= j) that a series goes on to its term j >= 1."""
    if series == "multilevel":
        return 2.0 ** (-DECAY * j)
    # The first further term is always taken, as in the paper.
    return 1 / j if j < TAIL_FROM else TAIL ** (j - TAIL_FROM) / TAIL_FROM


def draw_num_terms(series: Series) -> int:
    """Draw J, the number of further terms, from torch's stream of this device's CPU."""
    u, j = torch.rand((), dtype=torch.float64).item(), 0
    while u < survival(series, j + 1):
        j += 1
    return j
