r"""Estimators of the evidence lower bound, each a short function of Terms, each a drop-in pyro.infer.ELBO.

    ELBO_n = E_q [ log p(x_n|z) + log p(z) - log q(z|x_n) ] = E_q [ log p(x_n|z) ] - KL(q(z|x_n) || p(z))

The first form is estimated by Monte Carlo as a whole, the second has its KL in closed form. Both are
unbiased, for the value and for the gradient, with any number of particles.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from ppl_vae.inference.objective import Objective
from ppl_vae.inference.pair import Program
from ppl_vae.inference.terms import Gradient, Terms, admit


class Estimator(Objective):
    """An estimator of a bound on log p(x), per datum.

    A subclass states the bound; where the bound's own derivative is not the gradient estimate, it states a
    ``surrogate`` whose derivative is.

    Args:
        num_particles: K draws per datum.
    """

    passes_kl_weight = True
    # Whether the bound is a mean log likelihood minus ``kl``, so that an objective may weight the two apart.
    separates_kl = False

    @abstractmethod
    def bound(self, terms: Terms) -> Tensor:
        """The estimate of the bound: [N], nats per datum, higher is better."""

    def surrogate(self, terms: Terms) -> Tensor | None:
        """[N], differentiated in place of ``bound``; None where the bound is differentiated itself."""
        return None

    def kl(self, terms: Terms) -> Tensor:
        """This estimator's reading of the KL term, times kl_weight: [K, N], nats."""
        return terms.kl_weight * (terms.log_guide - terms.log_prior)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the mean of the bound over the batch, nats per datum, with the surrogate's gradient."""
        bound, surrogate = self.bound(terms), self.surrogate(terms)
        if surrogate is not None:
            bound = surrogate + (bound - surrogate).detach()
        return -bound.mean()

    def per_datum(self, model: Program, guide: Program, x: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The bound for every datum: [N], nats, higher is better. Gradients flow.

        Raises:
            ModelError: the pair is refused; the site is named.
            DataError: the model's likelihood has no density for some value of x.
        """
        return self.bound(self.run(model, guide, admit(model, x), *args, **kwargs))

    @property
    def estimator(self) -> Estimator:
        """Itself: an estimator is an objective that weights nothing."""
        return self


class MonteCarloKL(Estimator):
    """mean_k [log p(x|z_k) + log p(z_k) - log q(z_k|x)], the KL by Monte Carlo.

    The value and the reparameterised gradient of ``pyro.infer.Trace_ELBO`` (form A, SGVB-A, of Kingma &
    Welling 2014). Its variance vanishes where q is the exact posterior. Works for any pair with
    reparameterised draws.
    """

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """[N], nats."""
        return terms.log_weight.mean(0)


class AnalyticKL(Estimator):
    """mean_k log p(x|z_k) - KL(q(z|x) || p(z)), the KL in closed form.

    What ``pyro.infer.TraceMeanField_ELBO`` computes (form B, SGVB-B, of Kingma & Welling 2014), but a site
    without a closed form is refused by name where Pyro falls back to Monte Carlo in silence.
    """

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """[N], nats."""
        return (terms.log_likelihood - terms.kl()).mean(0)

    def kl(self, terms: Terms) -> Tensor:
        """KL(q || p) in closed form: [K, N], nats."""
        return terms.kl()


class EntropyAnalytic(Estimator):
    """mean_k [log p(x|z_k) + log p(z_k)] + H[q(z|x)], the entropy in closed form.

    Form C ("energy plus entropy"); not in Pyro. For a Gaussian guide its gradient equals MonteCarloKL's draw by
    draw, only the value differs. Works where q has a closed-form entropy, whatever the prior is.
    """

    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """[N], nats."""
        return (terms.log_likelihood - self.kl(terms)).mean(0)

    def kl(self, terms: Terms) -> Tensor:
        """-H[q] - log p(z): [K, N], nats."""
        return -terms.kl_weight * (terms.entropy + terms.log_prior)


class StickingTheLanding(Estimator):
    """MonteCarloKL with the guide's parameters stopped in log q (Roeder, Wu & Duvenaud 2017): the path derivative.

    Unbiased, because the score that is left out has mean zero. Its variance vanishes at the exact posterior.
    No twin in Pyro. With several draws inside a logarithm it would be biased; DReG is its counterpart there.
    """

    gradient: Gradient = "path"
    separates_kl = True

    def bound(self, terms: Terms) -> Tensor:
        """[N], nats."""
        return terms.log_weight.mean(0)
