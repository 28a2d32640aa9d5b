"""Distributions of Pyro's and torch's whose draws do not follow their density.

An average over such draws is that of another distribution, so no ELBO, simulated datum or rank that takes them
means what it says. Their densities are right: as the likelihood of observed data they stand. ``findings/`` of the
repository has the script that shows each fault with its versions.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyro import distributions as dist
from torch.distributions import Distribution, LKJCholesky, MixtureSameFamily

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.supports import bare

FAULTY: Mapping[type[Distribution], str] = {
    dist.SineBivariateVonMises: "the first angle is drawn too wide (pyro 1.9.2; NumPyro mended its own)",
    dist.TruncatedPolyaGamma: "a draw is a sum of eight gammas, 2.5 % short in the mean (pyro 1.9.2)",
    LKJCholesky: "correlations beside that of the first two variables are drawn too large (torch 2.13 and 2.14)",
}


def require_faithful_draws(drawn: Mapping[str, Distribution]) -> None:
    """Refuse sites whose draws are another distribution's than their density.

    Args:
        drawn: the distributions that are drawn from, by site.

    Raises:
        ModelError: the site is named, with the fault.
    """
    for name, distribution in drawn.items():
        core = _core(distribution)
        for faulty, fault in FAULTY.items():
            if isinstance(core, faulty) and not _has_two_variables(core):
                raise ModelError(
                    f"site {name!r}: draws of {faulty.__name__} do not follow its log_prob: {fault}; "
                    "choose another distribution for a site that is drawn"
                )


def _has_two_variables(distribution: Distribution) -> bool:
    """Tell whether the draws are of one correlation, which is drawn as it should be."""
    return isinstance(distribution, LKJCholesky) and distribution.dim == 2


def _core(distribution: Distribution) -> Distribution:
    """Strip what reshapes, transforms, skews or mixes a distribution."""
    while True:
        inner = bare(distribution)
        if isinstance(inner, dist.TransformedDistribution | dist.SineSkewed):
            inner = inner.base_dist
        elif isinstance(inner, MixtureSameFamily):
            inner = inner.component_distribution
        if inner is distribution:
            return inner
        distribution = inner
