"""Latent values that a mask leaves out of all densities: nothing that is left in may depend on them.

The guide draws a masked latent as any other, and neither log p(z) nor log q(z|x) of it is counted. Where data or
other latents depend on it, what is left is no bound on log p(x); where nothing does, as in the padding of a
sequence, it is the bound of the rest. Which of the two it is, the model is asked: it runs with other values there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.draws import kept_on
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.scales import require_bound, value_mask
from ppl_vae.inference.pair.trace import run_pair
from ppl_vae.inference.pair.trace_site import TraceSite

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Site, Terms

TOLERANCE = 1e-4


def require_apart(
    model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
) -> None:
    """Refuse masked latent values that a density of the model depends on.

    Args:
        model: the generative program.
        guide: its guide.
        args: what both were run on.
        kwargs: likewise.
        terms: of that run.

    Raises:
        ModelError: one does; the site is named.
    """
    sites = {name: site for level in terms.levels for name, site in level.sites.items() if site.p is not None}
    masks = {name: value_mask(site.q, site.mask) for name, site in sites.items()}
    masked = {name: mask for name, mask in masks.items() if mask is not None and not bool(mask.all())}
    if any(kept_on(site.value) for site in sites.values()):
        # Such draws have no density at other values, so the masks alone must do.
        for level in terms.levels:
            require_bound(level.sites, terms.observations, terms.log_likelihood.shape)
        return
    count = terms.log_likelihood.shape[0]

    def nodes(at: Given) -> Mapping[str, TraceSite]:
        run = run_pair(model, guide, args, kwargs, count, "total", at)
        return {**run.model_sites, **run.observed}

    with torch.no_grad():
        as_drawn = {name: _in_program(site.read, count, site) for name, site in sites.items()}
        moved = {
            name: _in_program(drawn_anew(sites[name].q, sites[name].read, mask), count, sites[name])
            for name, mask in masked.items()
        }
        require_unread(as_drawn, moved, nodes)


def require_unread(
    as_drawn: Mapping[str, Tensor], moved: Mapping[str, Tensor], nodes: Callable[[Given], Mapping[str, TraceSite]]
) -> None:
    """Refuse masked latent values that a density of the model depends on, by asking it at others.

    Args:
        as_drawn: the values of every latent site, as ``Given`` takes them.
        moved: those of the masked ones, others where they are masked.
        nodes: runs the model at given values: its sites, latent and observed.

    Raises:
        ModelError: one does; the site is named.
    """
    for name, values in moved.items():
        here, there = (_counted_at(at, nodes) for at in (as_drawn, {**as_drawn, name: values}))
        for other, density in here.items():
            if not torch.allclose(density, there[other], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                raise ModelError(
                    f"site {name!r} is masked for data whose {other!r} is not, and depends on it: without its "
                    "divergence from the prior no number is a bound on log p(x); mask both alike"
                )


def require_unmasked(terms: Terms) -> None:
    """Refuse latent values that are masked, where a site's densities of all data are put together.

    Raises:
        ModelError: the site is named.
    """
    for name, site in terms.sites.items():
        mask = value_mask(site.q, site.mask)
        if mask is not None and not bool(mask.all()):
            raise ModelError(
                f"site {name!r} is masked for some data: its posteriors are of different values, and have no "
                "average"
            )


def require_all_observed(what: str, terms: Terms) -> None:
    """Refuse observed sites that are masked, where something else than their densities is taken of them.

    Args:
        what: is taken, such as "an error of reconstruction".
        terms: of the pair.

    Raises:
        ModelError: the site is named.
    """
    for name, site in terms.observations.items():
        mask = value_mask(site.p, site.mask)
        if site.is_data and mask is not None and not bool(mask.all()):
            raise ModelError(
                f"site {name!r} is masked for some data or coordinates, which {what} would count; leave them out "
                "of the data, or take an ELBO, whose densities are masked"
            )


def drawn_anew(d: dist.TorchDistribution, value: Tensor, mask: Tensor) -> Tensor:
    """Draws from a distribution, drawn anew where they are masked."""
    other = d.sample().expand(value.shape)
    return torch.where(mask.to(other.device), value, other.to(value.dtype))


def _in_program(value: Tensor, count: int, site: Site) -> Tensor:
    """A site's values with the particles in front, as ``Given`` takes them."""
    return value.unsqueeze(0) if count == 1 and site.standing is not None else value


def _counted_at(
    values: Mapping[str, Tensor], nodes: Callable[[Given], Mapping[str, TraceSite]]
) -> dict[str, Tensor]:
    """List what is counted of every site of the model, as its plates have it, at the same random numbers."""
    device = next(iter(values.values())).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        found = nodes(Given(values))
    return {name: _counted(node["fn"].log_prob(node["value"]), node["mask"]) for name, node in found.items()}


def _counted(density: Tensor, mask: Tensor | bool | None) -> Tensor:
    return density if mask is None else torch.where(torch.as_tensor(mask, device=density.device), density, 0.0)
