"""Scores that several tables share; all are means over data, so that each datum keeps its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data.dataset import Split
from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD, code_variance
from ppl_vae.inference.pair.evaluation import evaluating
from tables.table import Scores

# Draws of every paper here.
DRAWS = 5000
NLL = f"NLL by {DRAWS} draws"


def negative_log_likelihood(pair: Any, test: Split, seed: int) -> np.ndarray:
    """Minus the importance-weighted bound of 5000 draws, nats: [N]."""
    return -pv.log_evidence(pair, test.x, num_samples=DRAWS, seed=seed, progress=False).per_datum.numpy()


def bound(pair: Any, test: Split, seed: int, num_particles: int) -> np.ndarray:
    """One draw of the importance-weighted bound of so many particles, nats: [N]."""
    estimator = inf.ImportanceWeighted(num_particles=num_particles)
    device = next(iter(pair.model.parameters())).device
    with torch.no_grad(), evaluating(pair.model, pair.guide, seed=seed, device=device):
        parts = [estimator.per_datum(pair.model, pair.guide, x.to(device)) for x in test.x.split(100)]
    return torch.cat(parts).double().cpu().numpy()


def active_units(pair: Any, test: Split, seed: int) -> list[int]:
    """The number of active units of every site, from the data upwards, by 500 data at most."""
    x = test.x[:500].to(next(iter(pair.model.parameters())).device)
    with torch.no_grad(), evaluating(pair.model, pair.guide, seed=seed, device=x.device):
        terms = inf.trace_terms(pair.model, pair.guide, x[:2], num_particles=1)
        active = code_variance(pair.model, pair.guide, x, 32) > ACTIVE_THRESHOLD
    sizes = {name: site.value[0, 0].numel() for name, site in terms.sites.items()}
    parts = dict(zip(sizes, active.split(list(sizes.values())), strict=True))
    return [int(parts[name].sum()) for name in sorted(parts)]


def likelihood_and_units(pair: Any, test: Split, seed: int) -> Scores:
    """The two columns of most tables."""
    return Scores(
        {NLL: negative_log_likelihood(pair, test, seed)}, {"active units": active_units(pair, test, seed)}
    )
