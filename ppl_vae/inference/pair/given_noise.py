"""Feeding the standard-normal noise of a guide from outside, so that estimators can be compared on the same draws.

A Gaussian site draws z = mu + L eps. With eps given, a run of the pair is a function of the parameters and
of eps alone, which pairs estimators and lets torch.func.vmap run many repeats at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import distributions as dist
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.own_law import keeps_law


class GivenNoise(Messenger):
    """Draw the Gaussian sites of a guide from given noise.

    Args:
        noise: by site, eps [K, N, d] (or [N, d] where K is 1).
    """

    def __init__(self, noise: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, msg: TraceSite) -> None:
        if msg["is_observed"] or msg["name"] not in self.noise:
            return
        msg["value"] = transform(msg["fn"], self.noise[msg["name"]])
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True


def noise_shapes(model: Program, guide: Program, x: object, num_particles: int) -> dict[str, tuple[int, ...]]:
    """The shape of the noise that a run with K particles takes, by site.

    Raises:
        ModelError: a site is not Gaussian; it is named.
    """
    with torch.no_grad():
        terms = run_terms(model, guide, (x,), {}, num_particles)
    for name, site in terms.sites.items():
        if not is_gaussian(site.q):
            raise ModelError(f"site {name!r} is not Gaussian: its noise cannot be given from outside")
    return {name: tuple(site.draw.shape) for name, site in terms.sites.items()}


def is_gaussian(q: dist.TorchDistribution) -> bool:
    """Tell whether draws of q are an affine function of standard-normal noise of the event's shape."""
    if isinstance(q, dist.MultivariateNormal):
        return keeps_law(q)
    try:
        diagonal_loc_scale(q)
    except NotImplementedError:
        return False
    return True


def transform(q: dist.TorchDistribution, noise: Tensor) -> Tensor:
    """The draw of a Gaussian q that noise [*batch, *event] stands for."""
    if isinstance(q, dist.MultivariateNormal):
        return q.loc + (q.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    loc, scale = diagonal_loc_scale(q)
    return loc + scale * noise
