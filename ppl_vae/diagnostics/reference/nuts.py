r"""Pyro's No-U-Turn sampler (Hoffman & Gelman 2014) on p(z | x_n) of ONE datum, the decoder fixed.

    U(u) = - log p(x_n, z(u)) - log |dz/du|,   u the unconstrained latents

A batch of data would be one chain in all their dimensions with one step size, so data and chains run one after
the other. Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pyro.infer import NUTS
from torch import Tensor
from torch.distributions import Transform

from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.supports import free_shape, require_fixed, to_support
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.point_mass import is_flat
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace import owner
from ppl_vae.progress import advance

# Up to so many unconstrained dimensions the mass matrix is a full one, under which correlated latents mix well.
FULL_MASS = 20


@contextlib.contextmanager
def frozen(*programs: Program) -> Iterator[None]:
    """Hold the parameters of the pair's modules constant inside: only gradients by the latents are wanted."""
    owners = [module for module in map(owner, programs) if module is not None]
    free = [parameter for module in owners for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


class DatumPosterior:
    """The posterior of one datum, to be drawn from.

    Args:
        model: the generative program.
        guide: its guide.
        x: [1, *event_shape].

    Raises:
        ModelError: a latent site is discrete or has no transform to the real numbers, or its prior is improper;
            it is named.
    """

    def __init__(self, model: Program, guide: Program, x: Tensor) -> None:
        self.model, self.guide, self.x = model, guide, x
        with torch.no_grad():
            first = self._values(run_terms(model, guide, (x,)))
            self.joint = log_joint(model, x, first)
            self.maps: dict[str, Transform] = {name: self._map(name, p) for name, p in self.joint.priors.items()}
            with torch.random.fork_rng([x.device] if x.is_cuda else []):
                elsewhere = log_joint(model, x, self._values(run_terms(model, guide, (x,))))
        for name, p in self.joint.priors.items():
            require_fixed(name, p, elsewhere.priors[name], first[name])

    def chains(self, num_samples: int, warmup: int, num_chains: int) -> tuple[dict[str, Any], int]:
        """Draw chains [chain, draw, *event] by site, and count the transitions that diverged."""
        found = [self._chain(self._start(chain), num_samples, warmup) for chain in range(num_chains)]
        draws = {name: np.stack([each[name] for each, _ in found]) for name in self.maps}
        return draws, sum(diverged for _, diverged in found)

    @torch.no_grad()
    def of_guide(self, num_draws: int) -> dict[str, Any]:
        """Draw as many values of the guide [draw, *event] by site."""
        values = self._values(run_terms(self.model, self.guide, (self.x,), {}, num_draws))
        return {name: values[name][:, 0].cpu().double().numpy() for name in self.maps}

    def potential(self, position: Mapping[str, Tensor]) -> Tensor:
        """Compute the potential U at the unconstrained latents of the datum."""
        values, log_volume = {}, torch.zeros((), dtype=self.x.dtype, device=self.x.device)
        for name, u in position.items():
            # Bounds of a support have the batch's shape [1, 1].
            free = u[None, None]
            values[name] = self.maps[name](free)
            log_volume = log_volume + self.maps[name].log_abs_det_jacobian(free, values[name]).sum()
        joint = log_joint(self.model, self.x, values)
        return -(joint.log_prior + joint.log_likelihood).sum() - log_volume

    def _chain(self, start: dict[str, Tensor], num_samples: int, warmup: int) -> tuple[dict[str, Any], int]:
        size = sum(u.numel() for u in start.values())
        try:
            kept, diverged = self._walk(start, num_samples, warmup, full_mass=size <= FULL_MASS)
        except RuntimeError as error:
            # A warm-up that stood still has seen no covariance of full rank.
            if "positive definite" not in str(error):
                raise
            kept, diverged = self._walk(start, num_samples, warmup, full_mass=False)
        with torch.no_grad():
            draws = {
                name: self.maps[name](torch.stack([each[name] for each in kept])[:, None])[:, 0]
                .cpu()
                .double()
                .numpy()
                for name in self.maps
            }
        return draws, diverged

    def _walk(
        self, start: dict[str, Tensor], num_samples: int, warmup: int, full_mass: bool
    ) -> tuple[list[Mapping[str, Tensor]], int]:
        kernel = NUTS(potential_fn=self.potential, full_mass=full_mass)
        kernel.initial_params = start
        kernel.setup(warmup)
        position, kept = start, []
        for step in range(warmup + num_samples):
            position = kernel.sample(position)
            advance()
            if step >= warmup:
                kept.append(position)
        return kept, len(kernel.diagnostics()["divergences"])

    @torch.no_grad()
    def _start(self, chain: int) -> dict[str, Tensor]:
        """Draw unconstrained latents to start from, the guide's for the first chain, the prior's for the others."""
        values = self._values(run_terms(self.model, self.guide, (self.x,)))
        if chain:
            priors = log_joint(self.model, self.x, values).priors
            values = {name: p.expand((1, 1)).sample() for name, p in priors.items()}
        return {name: to_z.inv(values[name])[0, 0].clone() for name, to_z in self.maps.items()}

    def _map(self, name: str, p: Any) -> Transform:
        if is_flat(p):
            raise ModelError(f"site {name!r}: the prior is improper, so that chains have nowhere to start")
        free_shape(name, p)
        return to_support(p)

    @staticmethod
    def _values(terms: Terms) -> dict[str, Tensor]:
        return {name: site.value for name, site in terms.sites.items() if site.p is not None}
