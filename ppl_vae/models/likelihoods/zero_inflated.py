"""Likelihoods of counts with more zeros than a Poisson or a negative binomial has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.distributions.zero_inflated import ZeroInflatedCounts
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.counts import (
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    check_counts,
    checked_sight,
    log_rates,
)

# The log odds of an additional zero with which a decoder starts: one in twenty.
FIRST_GATE = -3.0


class ZeroInflated(Likelihood):
    """Counts of a likelihood ``counts``, which a subclass makes, beside a mass at 0.

    The features are those of the counts, and behind them the logits of an additional 0.
    """

    num_parameters = 2
    counts: Likelihood

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of counts."""
        base = self.counts(features.narrow(-1 - event_dim, 0, 1), event_dim)
        return ZeroInflatedCounts(base.base_dist, features.select(-1 - event_dim, 1)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse data that are no counts."""
        check_counts(self.name, x)

    def start(self, x: Tensor) -> Tensor:
        """The log means and gates of data [N, *event_shape]: [2, *event_shape]."""
        rates = log_rates(x)
        return torch.cat([rates, torch.full_like(rates, FIRST_GATE)])

    def for_columns(self, count: int) -> None:
        """Learn what the counts learn for each column."""
        self.counts.for_columns(count)

    def begin_at(self, x: Tensor) -> None:
        """Begin where columns would without additional zeros."""
        self.counts.begin_at(x)


class ZeroInflatedPoissonLikelihood(ZeroInflated):
    """A Poisson beside a mass at 0 (Lambert 1992); the features are log rates and the logits of an additional 0.

    Lambert (1992): https://doi.org/10.2307/1269547

    Args:
        encoder_sees: "log1p", log(1 + x), or "x", the counts; an encoder of the user's own always sees x.
    """

    name = "zero-inflated-poisson"

    @remembers
    def __init__(self, encoder_sees: str = "log1p") -> None:
        super().__init__()
        self.encoder_sees = checked_sight(encoder_sees)
        self.counts = PoissonLikelihood(encoder_sees)


class ZeroInflatedNegativeBinomialLikelihood(ZeroInflated):
    """A negative binomial beside a mass at 0, as for counts of genes that are lost in measurement.

    The features are log mu and the logits of an additional 0; the dispersion is learned, as that of a
    ``NegativeBinomialLikelihood``.

    Lopez, Regier, Cole, Jordan & Yosef (2018): https://doi.org/10.1038/s41592-018-0229-2

    Args:
        dispersion_shape: of the learned log dispersion; () is one for all coordinates, the event shape one for
            each.
        initial_dispersion: where it starts, from 1e-12 to 1e12.
        encoder_sees: "log1p", log(1 + x), or "x", the counts; an encoder of the user's own always sees x.
    """

    name = "zero-inflated-negative-binomial"

    @remembers
    def __init__(
        self, dispersion_shape: Sequence[int] = (), initial_dispersion: float = 1.0, encoder_sees: str = "log1p"
    ) -> None:
        super().__init__()
        self.encoder_sees = checked_sight(encoder_sees)
        self.counts = NegativeBinomialLikelihood(dispersion_shape, initial_dispersion, encoder_sees)
