r"""Training by the energy score, which asks a model for draws of its data and for no density of them.

    ES(P, x) = E |X - x|^b - 1/2 E |X - X'|^b,      X, X' independent draws of P,    0 < b < 2

is a strictly proper score (Gneiting & Raftery 2007, eq. 22): its mean over data is least where P is their law. P is
here what the pair makes of x: z from the guide, then a draw of p(x|z), so that with an encoder that gives one point
the decoder learns the law of the data given their code, not its mean (Shen & Meinshausen 2024). The estimate from
K draws is unbiased. It is in units of the data to the power b, and no bound on anything.

Gneiting & Raftery (2007): https://doi.org/10.1198/016214506000001437
Shen & Meinshausen (2024): https://arxiv.org/abs/2404.13649
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.checks import positive, whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.two_levels import require_one_level
from ppl_vae.inference.pair.masked_latents import require_all_observed
from ppl_vae.inference.pair.terms import Observation, Terms


class EnergyScore(Estimator):
    """Minus the energy score of a datum under what the pair makes of it; a bound on nothing.

    Args:
        num_particles: K draws, at least 2.
        power: b, between 0 and 2.
    """

    passes_kl_weight = False

    def __init__(self, num_particles: int = 2, power: float = 1.0) -> None:
        super().__init__(whole("num_particles", num_particles, least=2))
        self.power = positive("power", power)
        if self.power >= 2:
            raise ModelError(f"power must be below 2, where the score is proper, got {power}")

    def bound(self, terms: Terms) -> Tensor:
        """Minus the energy score of every datum, summed over observed sites: [N], which is a bound on nothing.

        Raises:
            ModelError: the draws of an observed site have no derivative; or a site is global.
        """
        require_one_level("the energy score is of each datum", terms)
        require_all_observed("the energy score", terms)
        shape = terms.log_likelihood.shape
        return sum(
            (self._score(name, site, shape) for name, site in terms.observations.items() if site.is_data),
            start=terms.log_likelihood.new_zeros(shape[1]),
        )

    def kl(self, terms: Terms) -> Tensor:
        """The divergence KL(q || p) [K, N] for the record; this objective leaves it out. 0 for an autoencoder."""
        return terms.kl()

    def _score(self, name: str, site: Observation, shape: torch.Size) -> Tensor:
        if not site.p.has_rsample:
            raise ModelError(
                f"site {name!r}: the energy score differentiates draws, and {type(site.p).__name__} has none that "
                "are reparameterised"
            )
        draws = site.p.expand(shape).rsample().flatten(2)
        x = site.value.flatten(1)
        to_data = self._distance(draws - x)
        number = len(draws)
        # Pairs by how far apart they stand in a circle: each ordered pair of two draws once.
        between = [self._distance(draws - draws.roll(shift, 0)) for shift in range(1, number)]
        return 0.5 * torch.stack(between).mean((0, 1)) - to_data.mean(0)

    def _distance(self, difference: Tensor) -> Tensor:
        """The Euclidean norm to the power b, with a derivative at 0."""
        least = torch.finfo(difference.dtype).tiny
        return difference.square().sum(-1).clamp_min(least).pow(self.power / 2)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"num_particles={self.num_particles}, power={self.power}"
