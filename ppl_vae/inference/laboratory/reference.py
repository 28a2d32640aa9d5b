"""The reference of a comparison: a closed form where the model has one, else a long average; it says which."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.elbo import AnalyticKL, MonteCarloKL
from ppl_vae.inference.estimators.score_function import RLOO
from ppl_vae.inference.evidence.evidence import importance_bound
from ppl_vae.inference.laboratory.repeats import repeat
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.point_mass import require_spread
from ppl_vae.inference.pair.protocols import HasBounds, Program
from ppl_vae.inference.training.weights import Weights
from ppl_vae.randomness import derived_seed, seeded

# Draws per datum of a long average's repeat, and of the importance bound that stands for log p(x).
REFERENCE_PARTICLES = 8
EVIDENCE_DRAWS = 5000
# The long average has a stream of its own: on the estimators' noise their errors would look too small.
REFERENCE_STREAM = 5


@dataclass(frozen=True)
class Reference:
    """The yardstick of a comparison; values are means over the data with standard errors, nats per datum.

    Attributes:
        elbo: of the present guide, and its standard error.
        elbo_source: "closed form", or which long average.
        evidence: log p(x), and its standard error.
        evidence_source: "closed form", or which lower bound.
        gradient: of the mean ELBO, by parameter name.
        weights: the pair's.
    """

    elbo: tuple[float, float]
    elbo_source: str
    evidence: tuple[float, float]
    evidence_source: str
    gradient: dict[str, Tensor]
    weights: Weights


def reference(
    pair: Pair,
    weights: Weights,
    x: Tensor,
    repeats: int,
    seed: int,
    memory_limit: int,
    advance: Callable[[int], None],
) -> Reference:
    """Exact numbers where the pair has ``elbo(x)`` and ``log_evidence(x)``, long averages where it has not.

    Where ``elbo`` refuses the guide, as the oracle's does one with a chain inside, the evidence stays exact.
    """
    if isinstance(pair.source, HasBounds):
        try:
            found = _closed_form(pair.source, weights, x)
        except ModelError:
            pass
        else:
            advance(repeats)
            return found
    model, guide = pair.model, pair.guide
    estimator = _reference_estimator(model, guide, x, seed)
    with seeded(derived_seed(seed, REFERENCE_STREAM), x.device):
        repeated = repeat(model, guide, estimator, weights, x, repeats, memory_limit, advance)
    draws = repeated.values.mean(1)
    evidence, source = (math.nan, math.nan), _reason_against(model, guide, x, estimator, seed)
    if not source and isinstance(pair.source, HasBounds):
        evidence, source = (_exact_evidence(pair.source, x), 0.0), "closed form"
    elif not source:
        evidence = importance_bound(model, guide, x, EVIDENCE_DRAWS, seed, memory_limit)
        source = f"importance bound of {EVIDENCE_DRAWS} draws per datum, a stochastic lower bound"
    return Reference(
        (draws.mean().item(), draws.std().item() / math.sqrt(repeats)),
        f"average of {repeats} repeats of {estimator!r}",
        evidence,
        source,
        repeated.moments.mean,
        weights,
    )


def _reason_against(model: Program, guide: Program, x: Tensor, estimator: Estimator, seed: int) -> str:
    """The reason why a bound has no log p(x) of a datum to be compared with; empty where there is none."""
    with seeded(seed, x.device), torch.no_grad():
        terms = estimator.run(model, guide, x)
    if terms.whole is not None:
        return "global sites leave no log p(x) of a datum apart from the others"
    try:
        require_spread(terms.sites)
    except ModelError as error:
        return str(error)
    return ""


def _closed_form(pair: HasBounds, weights: Weights, x: Tensor) -> Reference:
    named = weights.named_parameters()
    elbo = pair.elbo(x).mean()
    found = torch.autograd.grad(elbo, list(named.values()), allow_unused=True)
    gradient = {
        name: (torch.zeros_like(p) if g is None else g).double()
        for (name, p), g in zip(named.items(), found, strict=True)
    }
    evidence = _exact_evidence(pair, x)
    return Reference((elbo.item(), 0.0), "closed form", (evidence, 0.0), "closed form", gradient, weights)


def _exact_evidence(pair: HasBounds, x: Tensor) -> float:
    with torch.no_grad():
        return pair.log_evidence(x).mean().item()


def _reference_estimator(model: Program, guide: Program, x: Tensor, seed: int) -> Estimator:
    """The first unbiased estimator of the ELBO and its gradient that the pair allows."""
    reason = ""
    for kind in (AnalyticKL, MonteCarloKL, RLOO):
        estimator = kind(num_particles=REFERENCE_PARTICLES)
        try:
            with seeded(seed, x.device):
                estimator.forward(estimator.run(model, guide, x))
            return estimator
        except ModelError as error:
            reason = str(error)
    raise ModelError(reason)
