r"""Annealed importance sampling (Neal 2001), forwards and backwards, and log p(x) from it (Wu et al. 2017).

    log w = sum_t (b_t - b_{t-1}) log r(z_{t-1}),   z_0 ~ f_0,   z_t by a transition that leaves f_{b_t} invariant

E w is p(x), where f_0 is normalised. With transitions that draw from f_b exactly, E log w is the left Riemann sum
of the integral over b of E_b[log r], which is log p(x); the reverse chain, from an exact draw of p(z|x), gives
the right sum (Grosse, Maddison & Salakhutdinov 2013). So forward chains bound log p(x) from below and reverse
chains from above.

Neal (2001): https://arxiv.org/abs/physics/9803008
Wu, Burda, Salakhutdinov & Grosse (2017): https://arxiv.org/abs/1611.04273
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.hmc import HMC, ChainState, pilot, state_at
from ppl_vae.inference.evidence.importance import delta_stderr, require_weights
from ppl_vae.inference.evidence.slope import Slope
from ppl_vae.inference.evidence.unconstrained import LatentPath, Start
from ppl_vae.inference.evidence.weight_chunks import ACTIVATIONS_PER_OUTPUT, MEMORY_LIMIT
from ppl_vae.inference.pair.covariates import at_covariates
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.progress import advance
from ppl_vae.randomness import derived_seed

STREAM = 9
TEMPERATURES = 1000
PILOT_CHAINS, PILOT_SHARE, FEWEST_PILOT_STEPS = 4, 5, 50

Transition = Callable[[ChainState, float], ChainState]


def sigmoid_schedule(num_temperatures: int, sharpness: float = 4.0) -> Tensor:
    """The inverse temperatures b_0 = 0 < ... < b_T = 1, float64 [T + 1], dense at both ends (Wu et al. 2017).

    >>> sigmoid_schedule(2)
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    integer("num_temperatures", num_temperatures)
    raw = torch.sigmoid(sharpness * torch.linspace(-1, 1, num_temperatures + 1, dtype=torch.float64))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def annealed_weights(state: ChainState, betas: Tensor, transition: Transition) -> Tensor:
    """The log weights of forward chains: [C, N] in float64, nats.

    Args:
        state: of exact draws from f_0.
        betas: b_0 = 0 to b_T = 1 [T + 1].
        transition: (state, b) -> state, leaves f_b invariant.
    """
    log_weight = torch.zeros_like(state.log_ratio, dtype=torch.float64)
    schedule = betas.tolist()
    for index in range(1, len(schedule)):
        log_weight += (schedule[index] - schedule[index - 1]) * state.log_ratio.double()
        if index + 1 < len(schedule):
            state = transition(state, schedule[index])
        advance(log_weight.shape[-1])
    return log_weight


def reverse_weights(state: ChainState, betas: Tensor, transition: Transition) -> Tensor:
    """The log weights of reverse chains, with E[1 / w] = 1 / p(x): [C, N] in float64, nats.

    Args:
        state: of exact draws from f_1, the posterior.
        betas: b_0 = 0 to b_T = 1 [T + 1], as of the forward chains.
        transition: (state, b) -> state, reversible with respect to f_b.
    """
    return annealed_weights(state, betas.flip(0), transition).neg()


def annealed_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    num_chains: int = 16,
    *,
    num_temperatures: int = TEMPERATURES,
    start: Start = "prior",
    num_leapfrog: int = 10,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
    labels: Batch = (),
) -> tuple[Tensor, Tensor]:
    """Estimate log p(x) by annealed importance sampling with HMC, and its standard error: [N] each, nats.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape], where the pair is.
        num_chains: C chains per datum, averaged inside the logarithm.
        num_temperatures: T, one trajectory of HMC at each but the last.
        start: "prior", or "guide" for fewer temperatures where the guide covers the posterior.
        num_leapfrog: leapfrog steps of a trajectory.
        seed: of all draws; torch's global generators are left as they were.
        memory_limit: bytes that the activations of a pass may take, roughly.
        labels: the covariates of a pair that takes any, each [N, ...].

    Raises:
        ModelError: a latent site is discrete or has no density where the path needs one; it is named. Or a
            draw's density moves with other draws, or with the cut where data go in parts. Or a weight is NaN or
            +inf, or all of a datum are zero: the datum is named.
    """
    betas = sigmoid_schedule(num_temperatures)
    estimates = []
    size = chains_per_pass(x, integer("num_samples", num_chains, least=2), memory_limit)
    for first in range(0, len(x), size):
        batch = x[first : first + size]
        given = tuple(part[first : first + size] for part in labels)
        if not first:
            require_chains_apart(model, guide, (batch, *given), size < len(x))
        with evaluating(model, guide, seed=derived_seed(seed, STREAM, first), device=x.device):
            path = LatentPath(at_covariates(model, given), at_covariates(guide, given), batch, start)
            hmc = pilot_run(path, betas, num_chains, num_leapfrog)
            log_weight = annealed_weights(state_at(path, path.draw(num_chains)), betas, hmc)
        require_weights(log_weight, first)
        estimates.append(torch.stack([log_mean_exp(log_weight), delta_stderr(log_weight)]))
    bound, stderr = torch.cat(estimates, 1)
    return bound, stderr


def require_chains_apart(model: Program, guide: Program, batch: Batch, is_part: bool) -> None:
    """Refuse a pair whose density of a chain moves with other chains or data, or with the cut where there is one.

    Raises:
        ModelError: it does; the side is named.
    """
    with evaluating(model, guide, seed=0, device=batch[0].device):
        require_separate_draws(model, guide, batch, among_data=True)
        if is_part:
            require_exchangeable(model, guide, tuple(part[:MOST_DATA] for part in batch))


def chains_per_pass(x: Tensor, num_chains: int, memory_limit: int) -> int:
    """The number of data in a pass, with all their chains."""
    per_datum = num_chains * max(1, x[0].numel()) * x.element_size() * ACTIVATIONS_PER_OUTPUT
    return max(1, integer("memory_limit", memory_limit) // per_datum)


def pilot_run(path: LatentPath, betas: Tensor, num_chains: int, num_leapfrog: int) -> HMC:
    """Step sizes from a few chains on a coarser schedule of the same shape."""
    integer("num_leapfrog", num_leapfrog)
    steps = max(FEWEST_PILOT_STEPS, (len(betas) - 1) // PILOT_SHARE)
    grid = sigmoid_schedule(steps)
    return pilot(Slope(path), state_at(path, path.draw(min(num_chains, PILOT_CHAINS))), grid, num_leapfrog)
