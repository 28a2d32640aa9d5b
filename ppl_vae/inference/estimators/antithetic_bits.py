r"""Gradients of binary latents from antithetic pairs of draws: ARM, and DisARM, which is ARM without its noise.

    z_j ~ Bernoulli(logistic(a_j)),   u ~ Uniform(0, 1)^D,   b = 1[1 - u < logistic(a)],   b' = 1[u < logistic(a)]

    ARM       (f(b) - f(b')) (u_j - 1/2)                                               (Yin & Zhou 2019)
    DisARM    1/2 (f(b) - f(b')) (b_j - b'_j) logistic(|a_j|)                          (Dong, Mnih & Tucker 2020)

Both are unbiased for d E f / d a_j. DisARM is the mean of ARM given the two draws, so that its variance is never
larger; Yin, Ho, Yan, Qian & Zhou (2020) found the same estimator under the name of U2G.

Yin & Zhou (2019), theorem 1: https://arxiv.org/abs/1807.11143
Dong, Mnih & Tucker (2020), eq. 6: https://arxiv.org/abs/2006.10680
Yin, Ho, Yan, Qian & Zhou (2020): https://arxiv.org/abs/2006.01448
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.discrete import variable
from ppl_vae.inference.estimators.two_levels import require_one_level
from ppl_vae.inference.pair.draws import kept_on
from ppl_vae.inference.pair.terms import Gradient, Site, Terms
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.own_law import keeps_law

# Under which name a draw keeps the uniform numbers that it was made of.
NOISE = "uniform"


class AntitheticBits(Estimator, ABC):
    """The ELBO of a guide that draws one binary site, from pairs of antithetic draws.

    Args:
        num_particles: K, an even number: draw k and draw k + K / 2 are a pair.
    """

    target = "elbo"
    side = "lower"

    gradient: Gradient = "score"

    def __init__(self, num_particles: int = 2) -> None:
        super().__init__(num_particles)
        if num_particles % 2:
            raise ModelError(f"antithetic draws come in pairs: num_particles must be even, got {num_particles}")
        self.draw_handler = FromUniforms(antithetic=True)

    @abstractmethod
    def slopes(self, logits: Tensor, first: Tensor, second: Tensor, noise: Tensor) -> Tensor:
        """The derivative by the logits per unit of f(b) - f(b'): [M, N, D], all arguments of that shape.

        Args:
            logits: a.
            first: b.
            second: b'.
            noise: u.
        """

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        only_bits(type(self).__name__, terms)
        return terms.log_weight.mean(0)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: the model's part of f, and the logits times their derivative."""
        name = type(self).__name__
        site = only_bits(name, terms)
        logits, bits, noise = (halves(part) for part in (logits_of(site), site.value, noise_of(name, site)))
        f = terms.log_weight.detach().unflatten(0, (2, -1))
        slopes = self.slopes(logits[1].detach(), bits[0], bits[1], noise[0])
        signal = (f[0] - f[1]).unsqueeze(-1) * slopes
        model_part = terms.log_likelihood + terms.kl_weight * terms.log_prior
        return model_part.mean(0) + (signal * logits[1]).sum(-1).mean(0)


class ARM(AntitheticBits):
    """The augment-REINFORCE-merge estimator (Yin & Zhou 2019)."""

    def slopes(self, logits: Tensor, first: Tensor, second: Tensor, noise: Tensor) -> Tensor:
        """The derivative u - 1/2."""
        return noise - 0.5


class DisARM(AntitheticBits):
    """ARM with its noise averaged out (Dong, Mnih & Tucker 2020), also known as U2G (Yin et al. 2020)."""

    def slopes(self, logits: Tensor, first: Tensor, second: Tensor, noise: Tensor) -> Tensor:
        """The derivative (b - b') logistic(|a|) / 2."""
        return 0.5 * (first - second) * logits.abs().sigmoid()


class FromUniforms(Messenger):
    """Draw Bernoulli sites from uniform numbers, b = 1[1 - u < p], and keep u on the draw.

    Args:
        antithetic: whether the second half of the particles has 1 - u of the first.
    """

    def __init__(self, antithetic: bool) -> None:
        super().__init__()
        self.antithetic = antithetic

    def _pyro_sample(self, msg: TraceSite) -> None:
        q = msg["fn"]
        if msg["is_observed"] or not isinstance(variable(q), torch.distributions.Bernoulli):
            return
        probs = bits_of(q).probs.detach().expand(*q.batch_shape, *q.event_shape)
        if self.antithetic:
            half = torch.rand_like(probs[: len(probs) // 2])
            noise = torch.cat([half, 1 - half])
        else:
            noise = torch.rand_like(probs)
        bits = (1 - noise < probs).to(probs.dtype)
        setattr(bits, NOISE, noise)
        msg["value"] = bits
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True


def only_bits(name: str, terms: Terms) -> Site:
    """The one latent site, of bits.

    Raises:
        ModelError: the guide draws another site, or the bits stand in further plates or beside a global site.
    """
    require_one_level(f"{name} differentiates by the bits of each datum", terms)
    sites = list(terms.sites.values())
    if len(sites) != 1 or not isinstance(variable(sites[0].q), torch.distributions.Bernoulli):
        raise ModelError(f"{name} needs one site of Bernoulli variables; the guide draws {list(terms.sites)}")
    if sites[0].standing is not None:
        raise ModelError(f"site {sites[0].name!r} stands in further plates inside a datum: give it an .to_event()")
    return sites[0]


def noise_of(name: str, site: Site) -> Tensor:
    """The uniform numbers that a site's bits were made of: [K, N, D].

    Raises:
        ModelError: the terms are not of the estimator's own run.
    """
    noise = kept_on(site.draw).get(NOISE)
    if not isinstance(noise, Tensor):
        raise ModelError(
            f"site {site.name!r}: {name} needs terms of its own run(), which draws bits in its own way"
        )
    return noise.reshape(site.value.shape)


def bits_of(q: torch.distributions.Distribution) -> torch.distributions.Bernoulli:
    """The Bernoulli of a single bit.

    Raises:
        ModelError: q is of another family.
    """
    single = variable(q)
    if not (isinstance(single, torch.distributions.Bernoulli) and keeps_law(single)):
        raise ModelError(f"expected Bernoulli variables, got {type(single).__name__}")
    return single


def logits_of(site: Site) -> Tensor:
    """The logits of a site's bits: [K, N, *event]."""
    logits: Tensor = bits_of(site.q).logits
    return logits.expand(site.value.shape)


def halves(numbers: Tensor) -> Tensor:
    """The two halves of the draws [K, N, *event] as [2, K / 2, N, D]."""
    return numbers.reshape(2, len(numbers) // 2, numbers.shape[1], -1)
