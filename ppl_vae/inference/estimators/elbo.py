r"""Estimators of the evidence lower bound, each a short function of Terms, each a drop-in pyro.infer.ELBO.

    ELBO_n = E_q [ log p(x_n|z) + log p(z) - log q(z|x_n) ] = E_q [ log p(x_n|z) ] - KL(q(z|x_n) || p(z))

The first form is estimated by Monte Carlo as a whole, the second has its KL in closed form. Both are
unbiased, for the value and for the gradient, with any number of particles.
"""

from __future__ import annotations

from torch import Tensor

from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.pair.terms import Gradient, Terms


class MonteCarloKL(Estimator):
    """The ELBO with the KL by Monte Carlo: mean_k [log p(x|z_k) + log p(z_k) - log q(z_k|x)].

    The value and the reparameterised gradient of ``pyro.infer.Trace_ELBO`` (form A, SGVB-A, of Kingma &
    Welling 2014). Its variance vanishes where q is the exact posterior. Works for any pair with
    reparameterised draws.

    Kingma & Welling (2014), SGVB-A: https://arxiv.org/abs/1312.6114
    """

    target = "elbo"
    side = "lower"

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return terms.log_weight.mean(0)


class AnalyticKL(Estimator):
    """The ELBO with the KL in closed form: mean_k log p(x|z_k) - KL(q(z|x) || p(z)).

    The twin is ``pyro.infer.TraceMeanField_ELBO`` (form B, SGVB-B, of Kingma & Welling 2014), but a site
    without a closed form is refused by name where Pyro falls back to Monte Carlo in silence.

    Kingma & Welling (2014), SGVB-B: https://arxiv.org/abs/1312.6114

    It goes wherever a ``pyro.infer.ELBO`` goes, and has a value per datum besides:

    >>> import torch
    >>> import ppl_vae as pv
    >>> vae, x = pv.VAE((4,), latent_dim=2, likelihood="gaussian"), torch.zeros(5, 4)
    >>> AnalyticKL(num_particles=3).per_datum(vae.model, vae.guide, x).shape
    torch.Size([5])
    >>> loss = AnalyticKL()(vae.model, vae.guide)
    >>> loss(x).backward()
    """

    target = "elbo"
    side = "lower"

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return (terms.log_likelihood - terms.kl()).mean(0)

    def kl(self, terms: Terms) -> Tensor:
        """The divergence KL(q || p) in closed form: [K, N], nats."""
        return terms.kl()


class EntropyAnalytic(Estimator):
    """The ELBO with the entropy in closed form: mean_k [log p(x|z_k) + log p(z_k)] + H[q(z|x)].

    Form C ("energy plus entropy"); not in Pyro. For a Gaussian guide its gradient equals MonteCarloKL's draw by
    draw, only the value differs. Works where q has a closed-form entropy, whatever the prior is.
    """

    target = "elbo"
    side = "lower"

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return (terms.log_likelihood - self.kl(terms)).mean(0)

    def kl(self, terms: Terms) -> Tensor:
        """The divergence -H[q] - log p(z): [K, N], nats."""
        return -terms.kl_weight * (terms.entropy + terms.log_prior)


class StickingTheLanding(Estimator):
    """The ELBO by its path derivative: MonteCarloKL with the guide's parameters stopped in log q.

    Unbiased, because the score that is left out has mean zero. Its variance vanishes at the exact posterior.
    No twin in Pyro. With several draws inside a logarithm it would be biased; DReG is its counterpart there.

    Roeder, Wu & Duvenaud (2017): https://arxiv.org/abs/1703.09194
    """

    target = "elbo"
    side = "lower"

    gradient: Gradient = "path"
    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        return terms.log_weight.mean(0)
