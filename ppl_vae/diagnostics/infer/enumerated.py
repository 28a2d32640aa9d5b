r"""Discrete latent sites of few values: p(z|x) is known at all of them, and draws of it are exact.

p(z|x) = p(x, z) / sum_z' p(x, z')        over all values z' of all sites of a datum
"""

from __future__ import annotations

import math

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.diagnostics.infer.weighted import Weighted
from ppl_vae.inference.estimators.discrete import configurations, is_discrete, num_configurations
from ppl_vae.inference.evidence.weight_chunks import pass_size
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.trace import run_model

MOST_VALUES = 4096
# Of the sum of the prior over all values, in nats: what is further from 1 has not been enumerated whole.
ROUNDING = 1e-3


def enumerated(part: Part, memory_limit: int) -> Weighted | None:
    """All values of a datum's sites, weighed by p(z|x).

    Returns:
        None where a site is continuous, where there are more than 4096 values, or where the prior of those that
        were listed does not add up to 1, as when the support of a site depends on another.
    """
    model = part.model_of_x()
    # The draws of whatever comes next are those of a pair that was not asked.
    with torch.random.fork_rng([part.x.device] if part.x.is_cuda else []):
        try:
            latent, _, _ = run_model(model, (part.x,), 1, Messenger())
        except NotImplementedError:
            # A prior without draws, as an improper one, is refused by what weighs the guide's.
            return None
    priors = {name: node["fn"] for name, node in latent.items()}
    if not priors or not all(is_discrete(p) for p in priors.values()):
        return None
    try:
        if math.prod(num_configurations(p) for p in priors.values()) > MOST_VALUES:
            return None
        values = _all_values({name: configurations(p) for name, p in priors.items()}, len(part))
        log_prior, log_joint_density = _densities(part, values, memory_limit)
    except (NotImplementedError, ValueError):
        # Supports that differ between data or values cannot be listed at once.
        return None
    whole = (log_prior.logsumexp(0).abs() <= ROUNDING).all()
    if not whole or not log_joint_density.logsumexp(0).isfinite().all():
        return None
    equal = torch.full((len(part),), -torch.inf, dtype=torch.float64, device=part.x.device)
    still = torch.zeros_like(equal, dtype=torch.bool)
    endless = torch.full_like(equal, torch.inf)
    return Weighted(values, log_joint_density.softmax(0), equal, endless, log_joint_density, still)


def _all_values(of_site: dict[str, Tensor], num_data: int) -> dict[str, Tensor]:
    """Every combination of the sites' values [C, n, *event], the same for each datum."""
    choices = [torch.arange(len(values), device=values.device) for values in of_site.values()]
    index = torch.cartesian_prod(*choices).reshape(-1, len(choices))
    chosen = {name: values[index[:, place]] for place, (name, values) in enumerate(of_site.items())}
    return {
        name: value.unsqueeze(1).expand(len(index), num_data, *value.shape[1:]) for name, value in chosen.items()
    }


def _densities(part: Part, values: dict[str, Tensor], memory_limit: int) -> tuple[Tensor, Tensor]:
    """Compute log p(z) and log p(x, z) at all values: [C, n] each, float64, nats."""
    count = len(next(iter(values.values())))
    data, draws = pass_size(part.x, count, memory_limit)
    at_once = max(1, draws * data // len(part))
    parts = [
        log_joint(
            part.model_of_x(), part.x, {name: value[first : first + at_once] for name, value in values.items()}
        )
        for first in range(0, count, at_once)
    ]
    log_prior = torch.cat([each.log_prior.double() for each in parts])
    return log_prior, log_prior + torch.cat([each.log_likelihood.double() for each in parts])
