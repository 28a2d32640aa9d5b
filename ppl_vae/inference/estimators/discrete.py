r"""Discrete latent sites besides the score function: exact enumeration, and a continuous relaxation.

enumeration    ELBO = sum_c q(y = c | x) [log p(x, y = c, z) - log q(y = c, z | x)]
relaxation     y = softmax((logits + Gumbel noise) / temperature)
(Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017)

Jang, Gu & Poole (2017): https://arxiv.org/abs/1611.01144
Maddison, Mnih & Teh (2017): https://arxiv.org/abs/1611.00712
Paulus, Maddison & Krause (2021): https://arxiv.org/abs/2010.04838
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.pair.terms import Terms, per_datum
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.own_law import keeps_law


class Enumeration(Estimator):
    """The ELBO with one discrete site summed out: no noise from it, in the value or in the gradient.

    The site must be the first that the guide draws; other sites are drawn once for each category. It may be several
    independent variables under one ``.to_event()``: the sum is over all their combinations. Twin, for a single
    variable: ``pyro.infer.TraceEnum_ELBO`` with the site marked infer={"enumerate": "parallel"} in the guide.

    Args:
        num_categories: the size of the site's support (2 for a Bernoulli, C^M for M variables of C categories).
    """

    target = "elbo"
    side = "lower"

    def __init__(self, num_categories: int) -> None:
        super().__init__(num_categories)
        self.draw_handler = _Enumerate(num_categories)

    @property
    def share_draws(self) -> int:
        """All categories, which are summed at one draw of the global sites."""
        return self.num_draws

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        self.require_levels(terms)
        return (self._probability(terms) * terms.log_weight).sum(0)

    def local_record(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """The two terms of the ELBO, every category by its probability: its plain mean would weigh all alike."""
        weight = self._probability(terms) / terms.log_likelihood.shape[1]
        return (weight * terms.log_likelihood).sum(), (weight * self.kl(terms)).sum()

    def _probability(self, terms: Terms) -> Tensor:
        """The probability q(y = c | x), c in the place of the draws: [C, N]."""
        discrete = [is_discrete(site.q) for site in terms.sites.values()]
        if discrete != [True] + [False] * (len(discrete) - 1):
            raise ModelError(
                f"enumeration needs one discrete site, drawn first; the guide draws {list(terms.sites)}"
            )
        first = next(iter(terms.sites.values()))
        if first.standing is not None and first.standing.summed:
            raise ModelError(f"site {first.name!r} stands in further plates inside a datum: give it an .to_event()")
        shape = terms.log_likelihood.shape
        return per_datum(first.name, first.q.log_prob(first.draw), first.standing or shape).exp()

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_categories={self.num_particles}"


class GumbelSoftmax(Estimator):
    """The relaxed ELBO log p(x|y~) - KL(q(y|x) || p(y)): y~ relaxes every OneHotCategorical, the KL is exact.

    Biased: the likelihood is taken between the corners of the simplex, unless ``straight_through`` rounds the
    draw on the way forward (then the gradient is biased alone).

    Args:
        num_particles: K.
        temperature: of the softmax; towards 0 the bias falls and the variance rises.
        straight_through: round the draw to its largest category, with the relaxed draw's derivative.
        num_conditional: draws of the noise given the rounded draw, whose derivatives are averaged
            (Gumbel-Rao, Paulus, Maddison & Krause 2021); None leaves the noise that the draw was made of. The mean
            of the gradient is straight-through's, its variance is never larger.
    """

    separates_kl = True

    def __init__(
        self,
        num_particles: int = 1,
        temperature: float = 0.5,
        straight_through: bool = False,
        num_conditional: int | None = None,
    ) -> None:
        super().__init__(num_particles)
        if not temperature > 0:
            raise ModelError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature
        self.straight_through = straight_through
        self.num_conditional: int | None = whole("num_conditional", num_conditional)
        if self.num_conditional is not None and not straight_through:
            raise ModelError("num_conditional averages the derivative of rounded draws: set straight_through=True")
        self.draw_handler = _Relax(temperature, straight_through, self.num_conditional)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        if not any(is_discrete(site.q) for site in terms.sites.values()):
            raise ModelError(f"gumbel-softmax needs a OneHotCategorical site; the guide draws {list(terms.sites)}")
        return (terms.log_likelihood - terms.kl()).mean(0)

    def kl(self, terms: Terms) -> Tensor:
        """The divergence KL(q || p) in closed form: [K, N], nats."""
        return terms.kl()

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        options = f"temperature={self.temperature}, straight_through={self.straight_through}"
        if self.num_conditional is not None:
            options += f", num_conditional={self.num_conditional}"
        return f"num_particles={self.num_particles}, {options}"


def variable(q: Distribution) -> Distribution:
    """The distribution of a single variable under ``.to_event()``."""
    while isinstance(q, torch.distributions.Independent):
        q = q.base_dist
    return q


def is_discrete(q: Distribution) -> bool:
    """Tell whether q has finitely many values that can be listed."""
    single = variable(q)
    return isinstance(single, torch.distributions.Distribution | dist.Distribution) and single.has_enumerate_support


def num_configurations(q: Distribution) -> int:
    """The size of the support of one datum: of a single variable, to the power of their number."""
    single = variable(q)
    number = math.prod(q.event_shape) // math.prod(single.event_shape)
    return int(len(single.enumerate_support(expand=False)) ** number)


def configurations(q: Distribution) -> Tensor:
    """Every value of one datum, the last variable fastest: [S, *event]."""
    single = variable(q)
    values = single.enumerate_support(expand=False).reshape(-1, *single.event_shape)
    number = math.prod(q.event_shape) // math.prod(single.event_shape)
    choices = torch.arange(len(values), device=values.device)
    index = torch.cartesian_prod(*[choices] * number).reshape(-1, number)
    return values[index].reshape(-1, *q.event_shape)


class _Enumerate(Messenger):
    """Give particle k the k-th element of a discrete site's support."""

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_categories = num_categories

    def _pyro_sample(self, msg: TraceSite) -> None:
        q = msg["fn"]
        if msg["is_observed"] or not is_discrete(q):
            return
        categories, asked = num_configurations(q), self.num_categories
        if categories != asked:
            raise ModelError(f"site {msg['name']!r} has {categories} categories, not num_categories = {asked}")
        # One category is one particle, which has no dimension of its own.
        one_each = () if categories == 1 else (categories, *(1 for _ in q.batch_shape[1:]))
        values = configurations(q).reshape(*one_each, *q.event_shape)
        msg["value"] = values.expand(*q.batch_shape, *q.event_shape)
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True


class _Relax(Messenger):
    """Draw OneHotCategorical sites from their relaxation."""

    def __init__(self, temperature: float, straight_through: bool, num_conditional: int | None) -> None:
        super().__init__()
        self.temperature = temperature
        self.straight_through = straight_through
        self.num_conditional = num_conditional

    def _pyro_sample(self, msg: TraceSite) -> None:
        if msg["is_observed"] or not is_discrete(msg["fn"]):
            return
        q = variable(msg["fn"])
        if not (isinstance(q, dist.OneHotCategorical) and keeps_law(q)):
            raise ModelError(
                f"site {msg['name']!r}: only a OneHotCategorical can be relaxed, not {type(q).__name__}"
            )
        msg["value"] = self._draw(q)
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True

    def _draw(self, q: dist.OneHotCategorical) -> Tensor:
        if self.num_conditional is not None:
            hard = q.sample()
            soft = conditional_relaxation(q.logits, hard, self.temperature, self.num_conditional)
            return hard + soft - soft.detach()
        temperature = torch.as_tensor(self.temperature, dtype=q.logits.dtype, device=q.logits.device)
        soft = dist.RelaxedOneHotCategorical(temperature, logits=q.logits).rsample()
        if not self.straight_through:
            return soft
        hard = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
        return hard + soft - soft.detach()


def conditional_relaxation(logits: Tensor, hard: Tensor, temperature: float, num_draws: int) -> Tensor:
    """The mean relaxed draw over Gumbel noise under which ``hard`` is the largest (Paulus et al. 2021, section 4).

    The noise is a constant: what is averaged is the derivative of softmax((logits + noise) / temperature) at it.

    Args:
        logits: [*batch, C].
        hard: one-hot [*batch, C].
        temperature: of the softmax.
        num_draws: how many draws of the noise.
    """
    fixed = logits.detach().log_softmax(-1)
    exponential = torch.empty(num_draws, *fixed.shape, dtype=fixed.dtype, device=fixed.device).exponential_()
    # The largest of all logits plus noise is a Gumbel of its own; the others are theirs, cut off there.
    log_e = exponential.log()
    top = (log_e * hard).sum(-1, keepdim=True)
    perturbed = torch.where(hard > 0, -log_e, -torch.logaddexp(log_e - fixed, top))
    soft = ((logits + (perturbed - fixed)) / temperature).softmax(-1)
    return soft.mean(0)
