"""Upper bounds on log p(x)."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.estimators.two_levels import require_all_members, require_one_level
from ppl_vae.inference.pair.gradients import split_surrogate
from ppl_vae.inference.pair.terms import Terms


class CUBO(Estimator):
    """The chi upper bound (1/n) log E_q w^n (Dieng et al. 2017, eq. 4); n >= 1.

    The estimate (1/n) log (1/K) sum_k w_k^n is biased low at finite K and can fall under log p(x). As a training
    objective an upper bound is tightened, not raised: the guide descends it, which covers the posterior, while
    the model, for which pushing an upper bound down would be wrong, climbs L_K on the same draws. At n = 2 the
    bound is finite iff 2 S_q - V > 0 for Gaussians.

    Dieng, Tran, Ranganath, Paisley & Blei (2017): https://arxiv.org/abs/1611.00328

    Args:
        num_particles: K, at least 2.
        n: the order.
    """

    target = "evidence"
    side = "upper"

    def __init__(self, num_particles: int = 10, n: float = 2.0) -> None:
        super().__init__(num_particles)
        if num_particles < 2 or not n >= 1:
            raise ModelError(f"cubo needs num_particles >= 2 and n >= 1, got {num_particles} and {n}")
        self.n = n

    def require_levels(self, terms: Terms) -> None:
        """Refuse a pair with global sites.

        Raises:
            ModelError: the global site is named.
        """
        require_all_members("CUBO", terms)
        require_one_level("cubo bounds log p(x|g) from above", terms)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(self.n * terms.log_weight) / self.n

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N], which is climbed: L_K by theta, minus the bound by phi."""
        log_weight = terms.log_weight.detach()
        return split_surrogate(terms, log_weight.softmax(0), -(self.n * log_weight).softmax(0))

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, n={self.n}"
