"""Reweighted wake-sleep (Bornschein & Bengio 2015), with the wake update of the guide.

Bornschein & Bengio (2015): https://arxiv.org/abs/1406.2751
Le, Kosiorek, Siddharth, Teh & Wood (2019): https://arxiv.org/abs/1805.10469
"""

from __future__ import annotations

from torch import Tensor

from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.estimators.score_function import score_surrogate
from ppl_vae.inference.pair.terms import Gradient, Terms


class WakeSleep(Estimator):
    """Wake-sleep: theta climbs L_K; phi climbs sum_k v_k log q(z_k|x), which descends KL(p(z|x) || q).

    The guide's optimum is that of the forward KL: it covers the posterior where ELBO training seeks a mode. No
    reparameterisation, so discrete sites are fine. Twin: ``pyro.infer.ReweightedWakeSleep``, whose weights
    are joint over the batch; these are per datum. The value is L_K.
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "score"

    def __init__(self, num_particles: int = 10) -> None:
        super().__init__(num_particles)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate of every datum: [N]."""
        weight = terms.log_weight.detach().softmax(0)
        return score_surrogate(terms, weight, weight)
