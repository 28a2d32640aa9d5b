"""Codes beside the factors of the same data: what a metric of disentanglement takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.factors import Factors
from ppl_vae.diagnostics.latent_space.disentanglement.mutual_information import (
    binned,
    entropies,
    mutual_information,
)


@dataclass(frozen=True)
class Coded:
    """The codes of n data, their factors, and how a metric shall look at them.

    Attributes:
        codes: the active dimensions [n, L]; L may be 0.
        factors: of the same data.
        bins: of the histograms of codes.
        binning: "width" (bins of equal width) or "count" (of equal counts).
        votes: the number of batches of FactorVAE's score and of the beta-VAE's, training and held out together.
        learner: of DCI, "random-forest" or "gradient-boosting".
        seed: of splits, batches and learners.
    """

    codes: NDArray[np.float64]
    factors: Factors
    bins: int = 20
    binning: str = "width"
    votes: int = 6000
    learner: str = "random-forest"
    seed: int = 0

    @property
    def num_codes(self) -> int:
        """The number of active dimensions L."""
        return self.codes.shape[1]

    @cached_property
    def information(self) -> NDArray[np.float64]:
        """I(code; factor) of histograms: [L, F], nats."""
        return mutual_information(binned(self.codes, self.bins, self.binning), self.factors.levels)

    @cached_property
    def factor_entropies(self) -> NDArray[np.float64]:
        """H(factor): [F], nats."""
        return entropies(self.factors.levels)

    @cached_property
    def halves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The data to learn from (two thirds, as 10,000 and 5,000 of the papers) and those held out."""
        order = np.random.default_rng(self.seed).permutation(len(self.codes))
        cut = 2 * len(order) // 3
        return order[:cut], order[cut:]
