"""Point-mass guides and flat priors, of which an autoencoder is made and an ELBO is not.

Pyro takes the log density of a point mass on a continuous latent for 0 and that of a flat prior too, so that a sum
of terms comes out finite and means nothing as a bound. Here both are refused by the site's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Distribution, Independent

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.protocols import Density

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Site


def without_events(q: Distribution | None) -> Distribution | None:
    """The distribution under ``to_event``."""
    return without_events(q.base_dist) if isinstance(q, Independent) else q


def stated_density(q: Distribution) -> Tensor:
    """The log density that a Delta site brings, summed over what ``to_event`` has declared an event."""
    if not isinstance(q, Independent):
        return torch.as_tensor(q.log_density)  # type: ignore[attr-defined]
    inner = stated_density(q.base_dist).expand(q.base_dist.batch_shape)
    count = q.reinterpreted_batch_ndims
    return inner.flatten(-count).sum(-1) if count else inner


def is_point(q: Distribution | None) -> bool:
    """Tell whether a distribution is a point mass: a Delta, or one that says so by an attribute ``is_point``."""
    q = without_events(q)
    return isinstance(q, dist.Delta) or bool(declared(Density, q).is_point)


def is_flat(p: Distribution | None) -> bool:
    """Tell whether a distribution is improper and flat."""
    return isinstance(p, dist.ImproperUniform)


def is_continuous(p: Distribution) -> bool:
    """Tell whether the support of a distribution is known and continuous."""
    return p.support is not None and not p.support.is_discrete


def require_spread(sites: Mapping[str, Site]) -> None:
    """Refuse guides of one value: their draws are all alike, and so are the weights, whatever the posterior is.

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the first such site is named.
    """
    for name, site in sites.items():
        if site.is_point and not is_point(site.p):
            raise ModelError(
                f"site {name!r}: the guide has one value only, so that all weights are equal and say nothing of "
                "the posterior or of log p(x), of which evaluate tells the bound; use a guide with more than one "
                "value, such as VQVAE.softened()"
            )


def require_density(site: str, q: Distribution, p: Distribution | None) -> None:
    """Refuse a guide that is a point mass on a continuous latent; on a discrete one, or an auxiliary, it may be.

    Raises:
        ModelError: the site is named.
    """
    if is_point(q) and p is not None and is_continuous(p):
        raise ModelError(
            f"site {site!r}: the guide is a point mass, which has no density, so there is no ELBO and no evidence; "
            "use ReconstructionLikelihood (what AutoDelta finds is a MAP estimate, and no posterior; that of "
            "AutoLaplaceApproximation is its laplace_approximation(x))"
        )


def log_prior(site: str, p: Distribution, value: Tensor) -> Tensor:
    """The log density log p(z) of a prior that is a distribution.

    Raises:
        ModelError: it is flat; the site is named.
    """
    if is_flat(p):
        raise ModelError(
            f"site {site!r}: the prior is improper, so there is no p(x), no ELBO and no evidence; "
            "use ReconstructionLikelihood"
        )
    return log_density(p, value)
