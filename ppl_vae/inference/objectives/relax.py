r"""A control variate that is learned, for the score function of binary latents (RELAX, Grathwohl et al. 2018).

    g = (f(b) - c(z~)) d log q(b) / da + d c(z) / da - d c(z~) / da

    z = a + log u - log(1 - u),   b = 1[z > 0],   z~ a draw of z given b,   q(b) = Bernoulli(logistic(a))

is unbiased for d E f(b) / da whatever c is. c is a small network of the relaxed bits and the logits, which this
estimator owns and trains in the same step: it descends the variance of g, which is E g^2 but for a constant. f
itself is never taken between the corners, so that one run of the programs is enough. With several draws the mean
of the others' f is taken off f before c sees it, as RLOO does.

Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), eq. 8 and appendix B: https://arxiv.org/abs/1711.00123
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl_vae.checks import positive
from ppl_vae.inference.estimators.antithetic_bits import FromUniforms, logits_of, noise_of, only_bits
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.objectives.density_ratio import Discriminator
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.terms import Gradient, Terms
from ppl_vae.registration import register


class RELAX(Estimator):
    """The ELBO of a guide that draws one binary site, its gradient by the score function and a control variate.

    The network is made when a pair is first run; for an optimiser of one's own run ``elbo(model, guide)`` once
    before its ``parameters()`` are taken.

    Args:
        num_particles: K.
        hidden: the layers of c.
        control_lr: the learning rate of c under ``fit``; the run's own if None.
    """

    target = "elbo"
    side = "lower"

    gradient: Gradient = "score"

    def __init__(
        self, num_particles: int = 2, hidden: Sequence[int] = (64,), control_lr: float | None = None
    ) -> None:
        super().__init__(num_particles)
        self.draw_handler = FromUniforms(antithetic=False)
        self.control = Discriminator(hidden)
        self.control_lr = None if control_lr is None else positive("control_lr", control_lr)
        if self.control_lr is not None:
            self.optimizer_options: dict[str, object] = {"lr": self.control_lr}

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms that ``forward`` needs; the first ones say how large the network has to be."""
        terms = super().run(model, guide, *args, **kwargs)
        logits = logits_of(only_bits("RELAX", terms)).flatten(2)
        self.control.make(torch.cat([logits, logits], -1))
        register(self.control.instance, self.control)
        return terms

    def reset(self) -> None:
        """Forget the control variate."""
        super().reset()
        self.control.network = None

    def bound(self, terms: Terms) -> Tensor:
        """The bound of every datum: [N], nats."""
        only_bits("RELAX", terms)
        return terms.log_weight.mean(0)

    def surrogate(self, terms: Terms) -> Tensor:
        """The surrogate [N]: the model's part of f, the logits times g, and the variance that c descends."""
        site = only_bits("RELAX", terms)
        logits, bits, noise = (part.flatten(2) for part in (logits_of(site), site.value, noise_of("RELAX", site)))
        with torch.enable_grad():
            slope = self._slope(centred(terms.log_weight.detach()), logits.detach(), bits, noise)
        model_part = terms.log_likelihood + terms.kl_weight * terms.log_prior
        surrogate = model_part + (slope.detach() * logits).sum(-1)
        # Climbed like the bound, so that its sign is turned; gradients reach c alone.
        return (surrogate - slope.square().sum(-1)).mean(0)

    def _slope(self, f: Tensor, logits: Tensor, bits: Tensor, noise: Tensor) -> Tensor:
        """The estimate g of the derivative by the logits, a function of c's parameters: [K, N, D]."""
        a = logits.requires_grad_()
        given = torch.rand_like(noise)
        probs = a.sigmoid()
        # Uniform where it would have given the same bits.
        again = torch.where(bits > 0, 1 - probs + given * probs, given * (1 - probs))
        free, tied = self._control(a, noise), self._control(a, again)
        (d_free,) = torch.autograd.grad(free.sum(), a, create_graph=True)
        (d_tied,) = torch.autograd.grad(tied.sum(), a, create_graph=True)
        score = bits - probs.detach()
        return (f - tied).unsqueeze(-1) * score + d_free - d_tied

    def _control(self, logits: Tensor, noise: Tensor) -> Tensor:
        """The control variate at relaxed bits [K, N, D]: [K, N]."""
        margin = torch.finfo(noise.dtype).eps
        u = noise.clamp(margin, 1 - margin)
        relaxed = (logits + u.log() - (-u).log1p()).sigmoid()
        value: Tensor = self.control(torch.cat([relaxed, logits], -1))
        return value

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        rate = "" if self.control_lr is None else f", control_lr={self.control_lr}"
        return f"num_particles={self.num_particles}{rate}"


def centred(f: Tensor) -> Tensor:
    """The signal less the mean of the other draws' [K, N]; as it is where there is one draw."""
    count = len(f)
    return f if count == 1 else f - (f.sum(0) - f) / (count - 1)
