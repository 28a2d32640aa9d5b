"""The densities of the programs at given points.

log p(z, x) = log p(z) + log p(x|z)    at z that the caller gives
log q(z|x)                             at the same z
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import without_masks
from ppl_vae.inference.pair.terms import Observation, Terms, per_datum
from ppl_vae.inference.pair.trace import run_model, run_program
from ppl_vae.inference.pair.trace_site import TraceSite


@dataclass(frozen=True)
class Joint:
    """The model's densities at given latent values.

    Attributes:
        log_prior: log p(z_nk), summed over sites: [K, N], nats.
        log_likelihood: log p(x_n | z_nk), summed over observed sites: [K, N], nats.
        priors: p of every latent site, in the model's order.
        observations: the observed sites by name.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    priors: Mapping[str, dist.TorchDistribution]
    observations: Mapping[str, Observation]


def log_joint(model: Program, x: object, values: Mapping[str, Tensor], whole: bool = False) -> Joint:
    """Evaluate log p(z) and log p(x|z) at given z, without a run of the guide. Gradients flow to z.

    Args:
        model: a Pyro program, called as model(x).
        x: the data, N of them.
        values: of every latent site, [K, N, *event].
        whole: whether the latents' densities are taken without their masks. Where nothing reads what is masked, log
            p(x) is the same, and every coordinate has a density.

    Raises:
        ModelError: a latent site has no value; it is named.
    """
    num_particles = len(next(iter(values.values())))
    latent, observed, num_data = run_model(model, (x,), num_particles, Given(values))
    for name in latent:
        if name not in values:
            raise ModelError(f"site {name!r} of the model was given no value; sites given: {list(values)}")
    shape = torch.Size((num_particles, num_data))

    def total(nodes: Mapping[str, TraceSite], masked: bool) -> Tensor:
        densities = []
        for name, node in nodes.items():
            p = node["fn"] if masked else without_masks(node["fn"])
            mask = node["mask"] if masked else None
            densities.append(per_datum(name, log_density(p, node["value"]), shape, mask=mask))
        return sum(densities[1:], start=densities[0])

    return Joint(
        total(latent, not whole),
        total(observed, True),
        {name: node["fn"] for name, node in latent.items()},
        {name: Observation(node["value"], node["fn"]) for name, node in observed.items()},
    )


def terms_at(model: Program, guide: Program, x: object, values: Mapping[str, Tensor]) -> Terms:
    """The Terms of a pair at given latent values instead of the guide's own draws.

    Args:
        model: a Pyro program, called as model(x).
        guide: its guide.
        x: the data, N of them.
        values: of every latent site, [K, N, *event].

    Raises:
        ModelError: the pair is refused, or its guide has a density at its own draws alone; the site is named.
    """
    num_particles = len(next(iter(values.values())))
    terms = run_terms(model, guide, (x,), {}, num_particles, draw_handler=Given(values))
    for name, site in terms.sites.items():
        if site.p is None:
            raise ModelError(f"site {name!r} is auxiliary: the guide's density is known at its own draws alone")
    return terms


def log_guide(guide: Program, x: object, values: Mapping[str, Tensor], whole: bool = False) -> Tensor:
    """Evaluate log q(z|x) at given z, without a run of the model: [K, N], nats.

    Args:
        guide: a Pyro program, called as guide(x).
        x: the data, N of them.
        values: of every latent site, [K, N, *event].
        whole: as of ``log_joint``.

    Raises:
        NotImplementedError: a site's density is known at its own draws alone; it is named.
    """
    num_particles = len(next(iter(values.values())))
    nodes, num_data = run_program(guide, (x,), num_particles, Given(values))
    shape = torch.Size((num_particles, num_data))
    total = torch.zeros((), device=next(iter(values.values())).device)
    for name, node in nodes.items():
        try:
            density = (without_masks(node["fn"]) if whole else node["fn"]).log_prob(node["value"])
        except (KeyError, NotImplementedError):
            raise NotImplementedError(
                f"site {name!r}: {type(node['fn']).__name__} has no inverse, so its density is known at its own "
                "draws alone"
            ) from None
        total = total + per_datum(name, density, shape, mask=None if whole else node["mask"])
    return total
