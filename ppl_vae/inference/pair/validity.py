"""The judgement by value of a pair that has been run: its terms must be densities of one model and one guide."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ppl_vae.errors import DataError, ModelError, PplVaeError
from ppl_vae.inference.pair.auxiliary import require_change_of_variables
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.faulty_draws import require_faithful_draws
from ppl_vae.inference.pair.held_data import require_data_of_the_call
from ppl_vae.inference.pair.masked_latents import require_apart
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.scales import unmasked
from ppl_vae.inference.pair.stopped import StoppedDensity
from ppl_vae.inference.pair.supports import require_data_in_support, require_supports
from ppl_vae.inference.pair.terms import Site
from ppl_vae.inference.pair.trace import run_pair
from ppl_vae.precision import HALF

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Terms


def require_valid(
    model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
) -> None:
    """Refuse terms from which no number about log p(x) may be reported.

    Args:
        model: the generative program.
        guide: its guide.
        args: what both were run on.
        kwargs: likewise.
        terms: of that run.

    Raises:
        ModelError: supports or shapes do not fit, a mask leaves no bound, a guide's transform has no density, or
            the model observes data of its own; the site is named.
        DataError: data outside the support of the likelihood; the site is named.
    """
    require_data_of_the_call(model, guide, args, kwargs, terms)
    require_densities(model, guide, args, kwargs, terms)
    require_apart(model, guide, args, kwargs, terms)


def require_densities(
    model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
) -> None:
    """Refuse terms that are no densities at all; also those of a loss, once.

    Raises:
        ModelError: supports or shapes do not fit, a guide's transform has no density, or its draws do not follow
            it, or a density is computed in half precision; the site is named.
        DataError: data outside the support of the likelihood; the site is named.
    """
    _require_shapes_of_one_particle(model, guide, args, kwargs, terms)
    for level in terms.levels:
        _require_single_precision(level)
        require_faithful_draws({name: site.q for name, site in level.sites.items()})
        require_supports(level.sites)
    # A model with a judge of its own has judged its data at the door.
    for level in terms.levels:
        if traits(model).check_data is None:
            require_data_in_support(level.observations)
        for site in level.sites.values():
            _require_same_guide(site)
        if any(site.transforms for site in level.sites.values()):
            # A flow knows its density at its latest draw alone, and the guide is about to draw again.
            with contextlib.suppress(ModelError):
                level.log_guide  # noqa: B018
            require_change_of_variables(guide, args, kwargs, level.sites)


def require_numbers(terms: Terms) -> None:
    """Refuse terms that are NaN, naming what broke first: the data, a draw, its densities, or the likelihood.

    Raises:
        ModelError: the site is named.
        DataError: likewise, where the data themselves are NaN.
    """
    if terms.whole is not None:
        require_numbers(terms.whole)
    broken = _what_is_nan(terms)
    if broken is None:
        return
    for name, observation in terms.observations.items():
        missing = observation.value.isnan()
        if bool(missing.any()):
            raise DataError(
                f"site {name!r}: the data have {int(missing.sum())} NaN, the first at index "
                f"{missing.nonzero()[0].tolist()}, and {broken}; impute what is missing, or mask it in the program"
            )
    raise ModelError(f"{broken}; are data and parameters finite?")


def _what_is_nan(terms: Terms) -> str | None:
    for name, site in terms.sites.items():
        if bool(site.value.isnan().any()):
            return f"site {name!r}: the guide's draws are NaN"
    for what, density, sites in (
        ("log_likelihood", lambda: terms.log_likelihood, terms.observations),
        ("log_prior", lambda: terms.log_prior, terms.sites),
        ("log_guide", lambda: terms.log_guide, terms.sites),
    ):
        if bool(density().isnan().any()):
            return f"{what} of {', '.join(map(repr, sites))} is NaN for some data"
    return None


def _require_shapes_of_one_particle(
    model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
) -> None:
    """Run with one particle, where a wrong shape [N, N] does not look like [K, N]."""
    num_particles, num_data = terms.log_likelihood.shape
    if num_particles == num_data > 1:
        devices = [terms.log_likelihood.device] if terms.log_likelihood.is_cuda else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            run_pair(model, guide, args, kwargs, 1, "total")


def _require_single_precision(terms: Terms) -> None:
    """Refuse densities that are computed in half precision: a sum over a datum, and weights, are lost in rounding.

    Raises:
        ModelError: a site is named.
    """
    if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):
        # There torch chooses for each operation, and densities are of single precision.
        return
    kinds = {name: (site.q, _kept_in(site)) for name, site in terms.sites.items() if site.value.dtype in HALF}
    kinds |= {name: (each.p, terms.log_likelihood.dtype) for name, each in terms.observations.items()}
    for name, (p, dtype) in kinds.items():
        if dtype in HALF:
            raise ModelError(
                f"site {name!r}: {type(unmasked(p)).__name__} is computed in {str(dtype).removeprefix('torch.')}, "
                "whose rounding of a sum over a datum may be nats; keep the pair in float32, or give every "
                "distribution parameters of it, as loc.float()"
            )


def _kept_in(site: Site) -> torch.dtype | None:
    """The precision of a site's density under the guide; None where it has none, or is certain of its draws."""
    try:
        density = log_density(site.q, site.draw)
    except (KeyError, NotImplementedError, PplVaeError):
        return None
    return density.dtype if density.any() else None


def _require_same_guide(site: Site) -> None:
    """Refuse a guide that was run again for its stopped densities and came out as another one."""
    if not isinstance(site.q_stopped, StoppedDensity) or site.transforms:
        return
    with torch.no_grad(), contextlib.suppress(KeyError, NotImplementedError):
        one, other = site.q.log_prob(site.draw), site.q_stopped.log_prob(site.draw)
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ModelError(
                f"site {site.name!r}: run again at the same draws the guide has another density, as where it draws "
                "random numbers outside its sample sites; estimators with stopped parameters cannot take it"
            )
