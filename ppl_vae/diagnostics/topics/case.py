"""The case of a diagnosis: the pair, the data, and how much is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.containers import Data, Labels
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.importance.importance import run_importance
from ppl_vae.inference.pair.admission import together
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms

# Decoded coordinates of one topic: about half a minute of two cores for a small network.
LARGEST_RUN = 200_000_000
LEAST_DATA = 32
# Data by which a pair is known again.
FINGERPRINTED = 8


@dataclass(frozen=True)
class Effort:
    """The numbers of draws, steps and data of a diagnosis.

    Attributes:
        num_data: data for k-hat, evidence, collapse and the predictive checks, chosen at random.
        num_samples: importance draws per datum.
        annealed_data: data whose log p(x) is found by annealing too.
        annealed_chains: chains per datum.
        annealed_temperatures: steps of the path.
        num_simulations: simulated data for calibration and coverage.
        num_draws: draws from the guide for each.
        num_replicates: replicated data sets of the predictive checks.
        gap_data: data of either split whose gaps are taken apart.
        gap_steps: optimiser steps of the per-datum fits.
        gap_particles: draws per datum and step there.
        gap_samples: importance draws per datum there.
        reference_data: data whose posterior is drawn by HMC, all at once.
        reference_samples: draws per chain.
        reference_warmup: steps of adaptation before them.
        reference_chains: chains per datum.
        global_draws: importance draws of global sites.
        local_draws: draws of every datum's local sites at each.
        worst_data: data of largest k-hat of each class whose posterior is drawn by ``infer``, beside HMC.
    """

    num_data: int = 200
    num_samples: int = 1000
    annealed_data: int = 16
    annealed_chains: int = 8
    annealed_temperatures: int = 400
    num_simulations: int = 1000
    num_draws: int = 99
    num_replicates: int = 200
    gap_data: int = 24
    gap_steps: int = 400
    gap_particles: int = 8
    gap_samples: int = 1000
    reference_data: int = 100
    reference_samples: int = 300
    reference_warmup: int = 150
    reference_chains: int = 4
    global_draws: int = 1000
    local_draws: int = 20
    worst_data: int = 3

    def within(self, coordinates: int) -> Effort:
        """Lower the number of data where each has so many coordinates that all draws would take too long."""
        data = LARGEST_RUN // (self.num_samples * coordinates)
        simulations = LARGEST_RUN // (self.num_draws * coordinates)
        return replace(
            self,
            num_data=min(self.num_data, max(LEAST_DATA, data)),
            num_simulations=min(self.num_simulations, max(LEAST_DATA, simulations)),
        )


FULL = Effort()
"""The default effort of a diagnosis."""
QUICK = Effort(
    num_data=60,
    num_samples=500,
    annealed_data=4,
    annealed_chains=4,
    annealed_temperatures=200,
    num_simulations=200,
    num_draws=49,
    num_replicates=50,
    gap_data=8,
    gap_steps=150,
    gap_samples=500,
    reference_data=20,
    reference_samples=250,
    reference_warmup=100,
    reference_chains=2,
    global_draws=500,
    local_draws=10,
    worst_data=1,
)
"""A first look in seconds."""


@dataclass(frozen=True)
class Case:
    """The pair and the data that are diagnosed.

    Attributes:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; they take ``batch``.
        batch: the chosen data x [n, *event_shape], and what the programs take beside them.
        batch_train: some of the training data, or None.
        effort: how much is drawn.
        seed: of everything.
        labels: the names of the rows and coordinates of x.
        of_set: all the data that the global sites were fitted to; empty where there are none.
        deadline: on the clock of ``time.monotonic``; nothing is begun after it.
    """

    pair: PairLike
    batch: Batch
    batch_train: Batch | None
    effort: Effort
    seed: int
    deadline: float = math.inf
    labels: Labels = field(default_factory=Labels)
    of_set: Batch = ()

    @property
    def x(self) -> Tensor:
        """The chosen data [n, *event_shape]."""
        return self.batch[0]

    def rows(self, first: int = 0, last: int | None = None) -> Data:
        """Some of the data, or all, as a run_ function is given them."""
        return together(tuple(part[first:last] for part in self.batch), self.labels.taken(slice(first, last)))

    def fingerprint(self) -> NDArray[np.float64]:
        """Numbers of a few data at fixed draws, which differ once the pair is trained further.

        Raises:
            ModelError: the pair is refused.
        """
        given = admitted(self.pair, self.rows(0, FINGERPRINTED), keep_rows=True)
        with torch.no_grad(), evaluating(*given.programs, seed=self.seed, device=given.x.device):
            terms = run_terms(*given.programs, given.batch, {}, 2, both_levels=True)
        found = [terms.log_likelihood, *(site.value for site in terms.sites.values())]
        return np.concatenate([each.double().cpu().numpy().ravel() for each in found])

    @cached_property
    def weights(self) -> xr.Dataset:
        """The importance weights, which k-hat and evidence share."""
        return run_importance(self.pair, self.rows(), self.effort.num_samples, seed=self.seed)

    @cached_property
    def simulated(self) -> SimulatedPosteriors:
        """The simulated data with the guide's draws, which calibration and coverage share."""
        return simulate_posteriors(
            self.pair, self.rows(), self.effort.num_simulations, self.effort.num_draws, seed=self.seed
        )
