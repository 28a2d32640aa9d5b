r"""Bidirectional Monte Carlo (Grosse, Ghahramani & Adams 2015): log p(x) of simulated data from both sides.

Of data that the model has drawn together with their latent values, those values are an exact draw of p(z|x). So
chains may run from the prior to the posterior and back:

    E log (1/C) sum_c w_c      <=  log p(x)  <=  E [ - log (1/C) sum_c 1 / w'_c ]
    w_c: forward chains                          w'_c: reverse chains from the exact draw

Both sides hold in expectation; the gap says how far annealing of this length can be trusted on this model, with
the caution that data of the model need not be as hard as real ones.

Grosse, Ghahramani & Adams (2015): https://arxiv.org/abs/1511.02543
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.annealed import (
    annealed_weights,
    chains_per_pass,
    pilot_run,
    require_chains_apart,
    reverse_weights,
    sigmoid_schedule,
)
from ppl_vae.inference.evidence.hmc import state_at
from ppl_vae.inference.evidence.importance import delta_stderr, require_weights
from ppl_vae.inference.evidence.unconstrained import LatentPath, Start
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.randomness import derived_seed

STREAM = 10
INSTEAD = "run_global_importance estimates log p of the whole set"


@dataclass(frozen=True)
class EvidenceBracket:
    """A bracket of log p(x) of simulated data from both sides, in nats.

    Attributes:
        x: the simulated data [N, *event_shape].
        lower: of forward chains, per datum [N], float64.
        lower_stderr: its Monte-Carlo error by the delta method [N].
        upper: of reverse chains [N].
        upper_stderr: its Monte-Carlo error [N]. The chains of a datum share their first state, whose own spread
            is not in it; it is in ``gap_stderr``.
        num_chains: C, of either kind.
        num_temperatures: T.
    """

    x: Tensor
    lower: Tensor
    lower_stderr: Tensor
    upper: Tensor
    upper_stderr: Tensor
    num_chains: int
    num_temperatures: int

    @property
    def gap(self) -> float:
        """The mean of upper minus lower over the data."""
        return (self.upper - self.lower).mean().item()

    @property
    def gap_stderr(self) -> float:
        """The standard error of the mean gap, over data and chains; NaN for one datum."""
        count = len(self.lower)
        return (self.upper - self.lower).std().item() / math.sqrt(count) if count > 1 else math.nan


def bidirectional_evidence(
    pair: PairLike,
    x: Data,
    num_chains: int = 16,
    *,
    num_temperatures: int = 1000,
    start: Start = "prior",
    num_leapfrog: int = 10,
    memory_limit: int = MEMORY_LIMIT,
    seed: int = 0,
) -> EvidenceBracket:
    """Bracket log p of as many simulated data as ``x`` has.

    Of a pair with global sites it is log p(x_n | g) at one draw g of the guide's, of data simulated given it.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape], for the shape of a datum and their number; the values are replaced by draws. With
            covariates a tuple or a dict (``inference.pair.covariates``): x is drawn given theirs.
        num_chains: C chains per datum in either direction.
        num_temperatures: T.
        start: where the forward chains begin, "prior" or "guide".
        num_leapfrog: leapfrog steps of a trajectory.
        memory_limit: bytes that the activations of a pass may take, roughly.
        seed: of all draws; torch's global generators are left as they were.

    Raises:
        ModelError: the pair is refused, the model observes more than one site, or a latent site is discrete.
        DataError: x is empty.
    """
    pair, given = admitted(pair, x)
    data = Conditioned((pair.model, pair.guide), given)
    held = at_global_draws(data, 1, derived_seed(seed, STREAM, 0, 1), INSTEAD)
    data = held[0] if held else data
    betas = sigmoid_schedule(num_temperatures)
    chains = integer("num_chains", num_chains, least=2)
    size = chains_per_pass(data.x, chains, memory_limit)
    passes = []
    for first in range(0, len(data), size):
        batch = data[first : first + size]
        if not first:
            require_chains_apart(*batch.programs, batch.batch, size < len(data))
        with evaluating(*data.programs, seed=derived_seed(seed, STREAM, first), device=data.x.device):
            passes.append(_both_ways(batch, first, betas, chains, start, num_leapfrog))
    drawn, lower, lower_stderr, upper, upper_stderr = (torch.cat(column) for column in zip(*passes, strict=True))
    return EvidenceBracket(drawn, lower, lower_stderr, upper, upper_stderr, chains, num_temperatures)


def _both_ways(
    data: Conditioned,
    first: int,
    betas: Tensor,
    num_chains: int,
    start: Start,
    num_leapfrog: int,
) -> tuple[Tensor, ...]:
    model, guide = data.model, data.guide
    drawn = simulate(model, data.x)
    path = LatentPath(model, guide, drawn.x, start)
    hmc = pilot_run(path, betas, num_chains, num_leapfrog)
    forward = annealed_weights(state_at(path, path.draw(num_chains)), betas, hmc)
    exact = path.pack({name: value.unsqueeze(0) for name, value in drawn.values.items()})
    backward = -reverse_weights(state_at(path, exact.expand(num_chains, -1, -1)), betas, hmc)
    for log_weight in (forward, backward):
        require_weights(log_weight, first)
    lower, upper = log_mean_exp(forward), -log_mean_exp(backward)
    return drawn.x, lower, delta_stderr(forward), upper, delta_stderr(backward)
