r"""Objectives of autoencoders: the reconstruction alone, without a prior or a divergence.

    reconstruction    log p(x | z)
    sparse            log p(x | z) - weight sum_j KL(Bernoulli(rho) || Bernoulli(rho_j)),  rho_j = batch mean of z_j
    (Ng 2011, CS294A lecture notes; Lee, Ekanadham & Ng 2008)

Neither is a bound on log p(x), and neither is called one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.point_mass import is_point
from ppl_vae.inference.pair.supports import ends_of, name_of, support_of
from ppl_vae.inference.pair.terms import Terms


class ReconstructionLikelihood(Estimator):
    """The reconstruction log likelihood mean_k log p(x|z_k), of a guide that is a point or any other."""

    passes_kl_weight = False

    def bound(self, terms: Terms) -> Tensor:
        """The score of an autoencoder [N], nats, which is a bound on nothing."""
        return terms.log_likelihood.mean(0)

    def global_bound(self, terms: Terms) -> Tensor:
        """The log likelihood of sites outside the data plate: a scalar, nats."""
        return terms.log_likelihood.new_zeros(()) if terms.whole is None else terms.whole.log_likelihood.mean()

    def kl(self, terms: Terms) -> Tensor:
        """The divergence KL(q || p) [K, N] for the record; this objective leaves it out. 0 for an autoencoder."""
        return terms.kl()


class SparseActivations(Weighting):
    """A penalty that holds the batch mean of every code unit at a small target, so that few are active at a time.

    Args:
        elbo: the objective that it is added to, or its name.
        target: rho, between 0 and 1.
        weight: nats per nat of KL(rho || rho_j), summed over units.
        site: the code's site; its values must lie in [0, 1].

    Raises:
        ModelError: a number is out of its range.
    """

    def __init__(self, elbo: str | Objective, target: float = 0.05, weight: float = 1.0, site: str = "z") -> None:
        super().__init__(elbo)
        self.target, self.weight = real("target", target), real("weight", weight, least=0)
        if not 0 < self.target < 1:
            raise ModelError(f"target must be between 0 and 1, got {target!r}")
        self.site = site
        self.undefined = f"; SparseActivations has no value where a code of site {site!r} leaves [0, 1]"

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the penalised score, nats per datum."""
        return self.weighted.forward(terms, step) + self.weight * self.penalty(terms)

    def penalty(self, terms: Terms) -> Tensor:
        """The penalty sum_j KL(Bernoulli(rho) || Bernoulli(rho_j)): nats; NaN where a code is outside [0, 1].

        Raises:
            ModelError: there is no such site.
        """
        codes = self._codes(terms)
        margin, rho = torch.finfo(codes.dtype).eps, self.target
        mean = codes.flatten(0, 1).mean(0).clamp(margin, 1 - margin)
        penalty = (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()
        # Found on the device, where a step does not wait for it; fit stops at what is not a number.
        inside = ((codes >= 0) & (codes <= 1)).all()
        return torch.where(inside, penalty, torch.nan)

    def judge(self, terms: Terms) -> None:
        """Refuse codes outside [0, 1], and guides that draw such though these were none; the site is named."""
        super().judge(terms)
        codes, q = self._codes(terms), terms.sites[self.site].q
        least, most = codes.min().item(), codes.max().item()
        ends = None if is_point(q) else ends_of(q)
        where = ""
        if least < 0 or most > 1:
            where = f"these lie between {least:.4g} and {most:.4g}"
        elif ends is not None and bool((ends[0] < 0).any() or (ends[1] > 1).any()):
            where = f"the guide's support is {name_of(support_of(q))}"
        if where:
            raise ModelError(
                f"site {self.site!r}: SparseActivations needs codes in [0, 1], as activations are, and {where}; "
                'use a guide that ends in a sigmoid, as posterior={"name": "point", "code": "sigmoid"}'
            )

    def _codes(self, terms: Terms) -> Tensor:
        if self.site not in terms.sites:
            raise ModelError(f"sparse activations need a site {self.site!r}; the guide draws {list(terms.sites)}")
        require_unmasked(terms)
        return terms.sites[self.site].value

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"target={self.target}, weight={self.weight}, site={self.site!r}"
