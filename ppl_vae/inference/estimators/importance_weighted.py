r"""Bounds from several importance weights per datum. w_k = p(x, z_k) / q(z_k | x), k = 1..K.

    L_K = E log (1/K) sum_k w_k        ELBO = L_1 <= L_2 <= ... <= log p(x)        (Burda et al. 2016)

The bound tightens with K while the signal-to-noise ratio of the guide's gradient falls like K^-1/2 (Rainforth
et al. 2018); the estimators here differ in how they meet that.

Rainforth et al. (2018): https://arxiv.org/abs/1802.04537
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.checks import real, whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.two_levels import require_one_level
from ppl_vae.inference.pair.gradients import scale_at_draws, split_surrogate
from ppl_vae.inference.pair.terms import Gradient, Terms

# Renyi bounds whose alpha is this close to 1 are computed as corrections of the ELBO.
NEAR_ELBO = 0.1


def log_mean_exp(log_weight: Tensor, dim: int = 0) -> Tensor:
    """The logarithm of a mean of exponentials, log (1/K) sum_k exp, along a dimension of length K."""
    return log_weight.logsumexp(dim) - math.log(log_weight.shape[dim])


def power_mean_near_elbo(log_weight: Tensor, power: float) -> Tensor:
    """The logarithm of a power mean, (1/p) log (1/K) sum_k w_k^p, for a small p, over the first dimension.

    The sum is 1 + O(p) and the quotient loses the digits that 1 takes. From d_k = log w_k - m, for any m,

        m + (1/p) log(1 + (1/K) sum_k (exp(p d_k) - 1))

    keeps them, where all p d_k are small; where not, there is nothing to lose.
    """
    centre = log_weight.detach().mean(0)
    scaled = power * (log_weight - centre)
    near = scaled.detach().abs().amax(0) < 0.5
    small = torch.expm1(torch.where(near, scaled, 0.0)).mean(0).log1p()
    return centre + torch.where(near, small, log_mean_exp(scaled)) / power


class ImportanceWeighted(Estimator):
    """The importance-weighted bound log (1/K) sum_k w_k (IWAE, Burda, Grosse & Salakhutdinov 2016).

    Twin: ``pyro.infer.RenyiELBO(alpha=0)``, which is per datum only if every site is in the data plate and
    puts a subsampling scale inside the logarithm; this one is always per datum. Bias -Var(w) / (2 K p(x)^2) +
    O(1/K^2) against log p(x). Biased for the ELBO, unbiased for L_K and for its gradient.

    Burda, Grosse & Salakhutdinov (2016), eq. 8: https://arxiv.org/abs/1509.00519
    """

    target = "evidence"
    side = "lower"

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)


class DReG(Estimator):
    """The bound L_K with the doubly reparameterised gradient (Tucker, Lawson, Gu & Maddison 2019, eq. 8).

    The guide's gradient is sum_k v_k^2 (d log w_k / d z_k)(d z_k / d phi) with normalised weights v_k: unbiased
    for the gradient of L_K, with a signal-to-noise ratio that rises like K^1/2. theta's gradient is IWAE's.
    At K = 1 it is sticking-the-landing. Under a KL weight b the second v_k becomes 1 - b + b v_k.

    Tucker, Lawson, Gu & Maddison (2019): https://arxiv.org/abs/1810.04152
    """

    target = "evidence"
    side = "lower"

    gradient: Gradient = "path"

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: self-normalised weights, squared where they reach the guide."""
        weight = terms.log_weight.detach().softmax(0)
        if len(weight) > 1:
            scale_at_draws(terms, 1 - terms.kl_weight + terms.kl_weight * weight)
        return (weight * terms.log_weight).sum(0)


class MIWAE(Estimator):
    """The mean of M independent bounds L_K (Rainforth et al. 2018): the bias of K, a variance divided by M.

    Rainforth et al. (2018): https://arxiv.org/abs/1802.04537

    Args:
        num_particles: K, inside the logarithm.
        num_outer: M, outside.
    """

    target = "evidence"
    side = "lower"

    def __init__(self, num_particles: int = 8, num_outer: int = 8) -> None:
        super().__init__(num_particles)
        self.num_outer = whole("num_outer", num_outer)

    @property
    def num_draws(self) -> int:
        """The number of draws, M K."""
        return self.num_outer * self.num_particles

    @property
    def share_draws(self) -> int:
        """The K draws inside a logarithm, which have a draw of the global sites of their own."""
        return self.num_particles

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(self._grouped(terms), dim=1).mean(0)

    def _grouped(self, terms: Terms) -> Tensor:
        """The log weights as [M, K, N]."""
        return terms.log_weight.unflatten(0, (self.num_outer, self.num_particles))

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, num_outer={self.num_outer}"


class PIWAE(MIWAE):
    """The bound L_MK for theta and the mean of M bounds L_K for phi: "partially" importance-weighted.

    The value is L_MK. At M = 1 it is IWAE. All M K draws are at one draw of the global sites; what a local guide
    makes of that draw is weighted as its own parameters are.

    Rainforth et al. (2018): https://arxiv.org/abs/1802.04537
    """

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return log_mean_exp(terms.log_weight)

    @property
    def share_draws(self) -> int:
        """All draws, which stand inside one logarithm."""
        return self.num_draws

    def surrogate(self, terms: Terms) -> Tensor | None:
        """The surrogate [N]: weights over all M K draws for theta, over groups of K for phi."""
        if self.num_draws == 1:
            return None
        model_weight = terms.log_weight.detach().softmax(0)
        guide_weight = self._grouped(terms).detach().softmax(1).flatten(0, 1) / self.num_outer
        return split_surrogate(terms, model_weight, guide_weight)


class CIWAE(Estimator):
    """The "combination" mix * ELBO + (1 - mix) * L_K on the same draws (Rainforth et al. 2018).

    Rainforth et al. (2018): https://arxiv.org/abs/1802.04537

    Args:
        num_particles: K.
        mix: the share of the ELBO, from 0 (IWAE) to 1.
    """

    target = "evidence"
    side = "lower"

    def __init__(self, num_particles: int = 5, mix: float = 0.5) -> None:
        super().__init__(num_particles)
        self.mix = real("mix", mix, least=0)
        if self.mix > 1:
            raise ModelError(f"mix must be between 0 and 1, got {mix}")

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return self.mix * terms.log_weight.mean(0) + (1 - self.mix) * log_mean_exp(terms.log_weight)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, mix={self.mix}"


class Renyi(Estimator):
    """The variational Renyi bound, 1/(1-a) log (1/K) sum_k w_k^(1-a) (Li & Turner 2016, eq. 6).

    a = 0 is IWAE, a -> 1 the ELBO, a < 0 bounds log p(x) from above as K -> infinity. For a < 1 and finite K
    the estimate is biased towards the ELBO. Twin: ``pyro.infer.RenyiELBO(alpha=a)``, with the caveats of IWAE.

    Li & Turner (2016): https://arxiv.org/abs/1602.02311

    Args:
        num_particles: K.
        alpha: any number but 1.
    """

    target = "evidence"

    def __init__(self, num_particles: int = 5, alpha: float = 0.5) -> None:
        super().__init__(num_particles)
        self.alpha = real("alpha", alpha)
        if self.alpha == 1:
            raise ModelError("alpha = 1 is the ELBO itself: use MonteCarloKL")

    def require_levels(self, terms: Terms) -> None:
        """Refuse a bound from above given the global draw: less the KL of that draw it is no bound.

        Raises:
            ModelError: alpha is negative, and a site is global; it is named.
        """
        if self.alpha < 0:
            require_one_level("renyi with a negative alpha bounds log p(x|g) from above", terms)
        super().require_levels(terms)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        power = 1 - self.alpha
        if abs(power) < NEAR_ELBO:
            return power_mean_near_elbo(terms.log_weight, power)
        return log_mean_exp(power * terms.log_weight) / power

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, alpha={self.alpha}"
