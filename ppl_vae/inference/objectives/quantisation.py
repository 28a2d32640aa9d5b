r"""The loss of a vector-quantised pair: a bound by the straight-through gradient, and two further terms.

    L = log p(x | z = e_k) + log p(k) - beta |z_e - sg(e_k)|^2 - |sg(z_e) - e_k|^2

(van den Oord, Vinyals & Kavukcuoglu 2017; sg stops the gradient.) z_e is the encoder's output, e_k the nearest
code. The first two terms are the ELBO of a discrete model with a one-hot guide, and what a history reports. The
third, the commitment, keeps the encoder near its codes; the fourth moves codes that are parameters. Codes that
follow by running means have no fourth term: they are moved after the loss is taken, in training steps alone.

Squared distances are summed over the dimensions of a code and averaged over cells, as in the paper.

van den Oord, Vinyals & Kavukcuoglu (2017), eq. 3: https://arxiv.org/abs/1711.00937
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.terms import Terms


@runtime_checkable
class Quantised(Protocol):
    """The guide's distribution at a quantised site.

    Attributes:
        encoded: z_e, encoder outputs [*batch, M, D].
        indices: k, the nearest codes [*batch, M].
        code: e_k [*batch, M, D]; with a gradient where codes are parameters.
        codebook: has ``follow(encoded, indices)``, called once a training step.
    """

    encoded: Tensor
    indices: Tensor
    code: Tensor
    codebook: Any


class VectorQuantisation(Weighting):
    """The commitment and codebook terms on top of a bound; the codebook follows in every training step.

    Args:
        elbo: the objective that they are added to, or its name. With a guide that is one point they are all the
            same bound; "analytic-kl" evaluates the prior once more, for the history.
        commitment: beta; the paper found anything between 0.1 and 2 to do, and took 0.25.

    Raises:
        ModelError: a weight is negative or not finite.
    """

    def __init__(self, elbo: str | Objective = "monte-carlo-kl", commitment: float = 0.25) -> None:
        super().__init__(elbo)
        if self.gradient == "score":
            name = type(self.weighted).__name__
            raise ModelError(
                f"VectorQuantisation needs draws with a straight-through gradient, which {name} does not use"
            )
        self.commitment = real("commitment", commitment, least=0)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective; the two terms in units of the codes, the bound in nats per datum.

        Raises:
            ModelError: no site of the guide is quantised.
        """
        loss = self.weighted.forward(terms, step)
        for q in _quantised(terms):
            loss = loss + self.commitment * _distance(q.encoded, q.code.detach())
            if q.code.requires_grad:
                loss = loss + _distance(q.encoded.detach(), q.code)
            if torch.is_grad_enabled():
                q.codebook.follow(q.encoded, q.indices)
        return loss

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"commitment={self.commitment}"


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1).mean()


def _quantised(terms: Terms) -> list[Quantised]:
    found: list[Quantised] = [site.q for site in terms.sites.values() if isinstance(site.q, Quantised)]
    if not found:
        raise ModelError(
            "vector quantisation needs a guide that draws the nearest codes of a codebook; "
            f"this guide draws {list(terms.sites)} in another way"
        )
    require_unmasked(terms)
    return found
