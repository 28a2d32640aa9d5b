r"""Estimate the evidence, the best bound and the encoder's bound of every datum from one set of noise.

    log p(x) by importance sampling from q*,   L[q*],   L[q_phi],   and their differences

Differences are taken draw by draw, so that what the noise has in common cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.diagnostics.gaps.local_fit import LocalGuide, optimise
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.randomness import derived_seed, seeded

GAPS_STREAM = 40


@dataclass(frozen=True)
class GapEstimates:
    """The numbers per datum [N] and their Monte-Carlo errors, by name."""

    value: dict[str, Tensor]
    error: dict[str, Tensor]
    converged: bool
    fixed: dict[str, list[str]]

    def with_evidence(self, evidence: Tensor, error: Tensor) -> GapEstimates:
        """Replace the evidence by log p(x) from elsewhere."""
        gap = evidence - self.value["elbo_best"]
        gap_error = (error.square() + self.error["elbo_best"].square()).sqrt()
        return GapEstimates(
            self.value | {"log_evidence": evidence, "approximation_gap": gap},
            self.error | {"log_evidence": error, "approximation_gap": gap_error},
            self.converged,
            self.fixed,
        )


@dataclass(frozen=True)
class GapPlan:
    """The amount of work for every datum."""

    num_samples: int
    steps: int
    num_particles: int
    seed: int

    def num_steps(self, x: Tensor) -> int:
        """Count the optimisation steps of one split, all chunks together, where no rule stops them earlier."""
        return self.steps * len(x.split(data_per_chunk(x, self.num_particles)))

    def split(self, given: Conditioned) -> GapEstimates:
        """Compute all numbers of one split, in chunks of data that keep to the memory limit."""
        x = given.x
        with evaluating(*given.programs, seed=derived_seed(self.seed, GAPS_STREAM), device=x.device):
            parts = [
                self._chunk(LocalGuide(batch.model, batch.guide, batch.x), index)
                for index, batch in enumerate(given.split(data_per_chunk(x, self.num_particles)))
            ]
        value = {name: torch.cat([part.value[name] for part in parts]) for name in parts[0].value}
        error = {name: torch.cat([part.error[name] for part in parts]) for name in parts[0].error}
        return GapEstimates(value, error, all(part.converged for part in parts), parts[0].fixed)

    def _chunk(self, local: LocalGuide, index: int) -> GapEstimates:
        start = local.snapshot()
        converged = optimise(local, self.num_particles, self.steps)
        noise = derived_seed(self.seed, GAPS_STREAM, index)
        best = self._log_weights(local, noise)
        local.restore(start)
        own = self._log_weights(local, noise)
        value, error = _compare(best, own)
        return GapEstimates(value, error, converged, local.fixed)

    @torch.no_grad()
    def _log_weights(self, local: LocalGuide, noise: int) -> Tensor:
        """Compute log weights [S, N] in float64, from a stream that starts at ``noise``."""
        most = max(1, data_per_chunk(local.x, 1) // len(local.x))
        sizes = [min(most, self.num_samples - done) for done in range(0, self.num_samples, most)]
        with seeded(noise, local.x.device):
            return torch.cat([local.log_weight(size).double() for size in sizes])


def _compare(best: Tensor, own: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compute values [N] and errors [N] from log weights [S, N] under q* and q, on common random numbers."""
    bound = log_mean_exp(best)
    # By the delta method, the influence of a draw on the logarithm of the mean weight.
    influence = (best - bound).exp()
    draws = {
        "log_evidence": (bound, influence),
        "elbo_best": (best.mean(0), best),
        "elbo": (own.mean(0), own),
        "approximation_gap": (bound - best.mean(0), influence - best),
        "amortisation_gap": ((best - own).mean(0), best - own),
    }
    value = {name: mean for name, (mean, _) in draws.items()}
    error = {name: each.std(0) / math.sqrt(len(each)) for name, (_, each) in draws.items()}
    return value, error
