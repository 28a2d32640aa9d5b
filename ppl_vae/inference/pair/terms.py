r"""The terms of ONE run of a (model, guide) pair (``runs``). Everything else is short mathematics on top of them.

For data x_1..x_N and K particles z_nk ~ q(z | x_n), and for each latent site its value, q and p:

    log p(x_n | z_nk)    log p(z_nk)    log q(z_nk | x_n)    KL(q || p) of a site where it is closed
    log w_nk = log p(x_n | z_nk) + log p(z_nk) - log q(z_nk | x_n)

All of them are [K, N] and in nats. Sites outside the data plate are global: they make Terms of their own
[K, 1], ``whole``, of the data set as one datum, and then

    bound(data set) = N_total / N sum_n bound(x_n given the global draw) + log p(y|g) - KL(q(g) || p(g))

where y is what is observed outside the data plate, if anything. With a ``poutine.scale`` of the user's own the
terms of a loss are multiplied by it; those behind reported numbers are not (``unscaled``). How the values depend
on the guide's parameters is chosen by ``gradient``:

    "total"  reparameterised draws, and log q depends on the parameters as well
    "path"   reparameterised draws, log q has its parameters stopped (Roeder, Wu & Duvenaud 2017)
    "score"  the values are constants; only log q depends on the parameters
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.auxiliary import require_accounted
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.levels import Standing
from ppl_vae.inference.pair.point_mass import is_flat, is_point, log_prior, require_density, stated_density
from ppl_vae.inference.pair.scales import batch_mask, unmasked
from ppl_vae.inference.pair.stopped import StoppedDensity
from ppl_vae.kl import coordinate_kl, kl_divergence
from ppl_vae.own_law import lawgiver, states

Gradient = Literal["total", "path", "score"]


@dataclass(frozen=True)
class Site:
    """One latent site of the pair.

    Attributes:
        name: its name.
        value: the draws [K, N, *event], as the model reads them; [K, N, *plates, *event] in further plates.
        draw: the same numbers as the guide drew them (without the first dimension where K is 1). The
            guide's density is taken here, because flows remember the way they came; what flows back through
            ``value`` is the model's dependence on its latents alone.
        q: the guide's distribution, batch shape broadcastable to [K, N].
        p: the model's distribution; None for a site that only the guide has (auxiliary).
        q_stopped: q with the guide's parameters stopped, where gradient="path" asked for it.
        scale: the factor of ``poutine.scale`` in the user's programs on the site's log densities.
        mask: the mask of ``poutine.mask`` on them.
        transforms: whether q is a Delta that transforms an auxiliary draw and brings the log density of that.
        standing: where it stands, if not in the data plate alone.
        alias: the tensor that the model reads where ``value`` is not that one itself.
    """

    name: str
    value: Tensor
    draw: Tensor
    q: dist.TorchDistribution
    p: dist.TorchDistribution | None
    q_stopped: dist.TorchDistribution | StoppedDensity | None = None
    scale: Tensor | float = 1.0
    mask: Tensor | bool | None = None
    transforms: bool = False
    standing: Standing | None = None
    alias: Tensor | None = None

    @property
    def read(self) -> Tensor:
        """The tensor that the model reads, at which densities of the model are taken."""
        return self.value if self.alias is None else self.alias

    @property
    def is_point(self) -> bool:
        """Tell whether the guide has one value and no density there."""
        return is_point(self.q) and not self.transforms


@dataclass(frozen=True)
class Observation:
    """One observed site.

    Attributes:
        value: the data [N, *event].
        p: p(x|z), batch shape broadcastable to [K, N]; its mean may miss the first dimension where K is 1.
        mask: the mask of ``poutine.mask`` on its densities.
        standing: where it stands, if not in the data plate alone.
    """

    value: Tensor
    p: dist.TorchDistribution
    mask: Tensor | bool | None = None
    standing: Standing | None = None

    @property
    def is_data(self) -> bool:
        """Tell whether it holds data that the model can draw: no ``pyro.factor``, no value made from latents."""
        return not isinstance(unmasked(self.p), dist.Unit | dist.Delta)


@dataclass(frozen=True)
class Terms:
    """The densities of one run of a pair.

    Attributes:
        sites: the latent sites by name, in the guide's order.
        model_order: the names of the latent sites in the model's order.
        observations: the observed sites by name.
        log_likelihood: log p(x_n | z_nk), summed over observed sites: [K, N].
        data_scale: N_total / N of a subsampled data plate, else 1. The terms are not multiplied by it.
        kl_weight: the factor by which an objective multiplies the divergence from the prior; 1 in an ELBO.
        unscaled_log_likelihood: log p(x|z) without the user's own ``poutine.scale``; None where it is the same.
        num_total: the number of data that the global sites belong to.
        whole: the terms of the global sites [K, 1]; None where there are none.
        draws_per_global: the number of draws in a row that share one draw of every global site.
        coupling: the auxiliary site of a guide that draws the latents of all data at once. All divergence is then
            in ``whole``, and there is no bound of a datum; None for other guides.
        order: the names of the sites of both levels in the guide's order and in the model's; empty where there is
            but one level.
        copies: how often the data stand one behind another in N, as an objective shows them with coordinates
            missing; what is recorded is of the first.
    """

    sites: Mapping[str, Site]
    model_order: tuple[str, ...]
    observations: Mapping[str, Observation]
    log_likelihood: Tensor
    data_scale: float = 1.0
    kl_weight: Tensor | float = 1.0
    unscaled_log_likelihood: Tensor | None = None
    num_total: float = math.nan
    whole: Terms | None = None
    draws_per_global: int = 1
    coupling: str | None = None
    order: tuple[tuple[str, ...], ...] = ()
    copies: int = 1

    @property
    def num_data(self) -> int:
        """The number of data in the batch."""
        return self.log_likelihood.shape[1] // self.copies

    @property
    def levels(self) -> tuple[Terms, ...]:
        """These terms and, where there are global sites, those of the set."""
        return (self,) if self.whole is None else (self, self.whole)

    @property
    def subsampled(self) -> str | None:
        """The first site of a datum whose plate takes some of its members, others in every run; else None."""
        places = {name: site.standing for name, site in self.sites.items()}
        places |= {name: each.standing for name, each in self.observations.items()}
        return next((name for name, place in places.items() if place is not None and place.factor != 1.0), None)

    @property
    def drawn(self) -> dict[str, Tensor]:
        """The guide's draws of the model's sites at both levels, as the programs have them."""
        sites = {name: site for level in self.levels for name, site in level.sites.items()}
        return {name: site.read for name, site in sites.items() if site.p is not None}

    @cached_property
    def log_prior(self) -> Tensor:
        """The prior's log density log p(z_nk), summed over sites: [K, N], nats.

        Raises:
            ModelError: a site's prior is improper; the site is named.
        """
        shared = [s for s in self.sites.values() if s.p is not None]
        return self._total([self._per_datum(s, _log_prior(s)) for s in shared])

    @cached_property
    def log_guide(self) -> Tensor:
        """The guide's log q(z_nk | x_n), summed over sites: [K, N], nats; gradient="path" stops its parameters.

        Raises:
            ModelError: the guide draws a site that the model has not; or a site's guide is a point mass or has
                no density elsewhere; the site is named.
        """
        require_accounted(self.sites)
        return self._total([self._per_datum(s, _log_guide(s)) for s in self.sites.values()])

    @cached_property
    def entropy(self) -> Tensor:
        """The entropy of the guide at its own draws, summed over sites: [K, N], nats.

        Raises:
            ModelError: a site's distribution has no closed-form entropy; the site is named.
        """
        require_accounted(self.sites)
        return self._total([self._per_datum(s, _entropy(s), s.q) for s in self.sites.values()])

    @property
    def is_bound(self) -> bool:
        """Tell whether log p(x|z) - KL is an ELBO: under an improper prior there is no log p(x) to bound."""
        own = not any(is_flat(s.p) for s in self.sites.values())
        return own and (self.whole is None or self.whole.is_bound)

    @property
    def log_weight(self) -> Tensor:
        """The log weight log p(x|z) + kl_weight (log p(z) - log q(z|x)): [K, N], nats."""
        return self.log_likelihood + self.kl_weight * (self.log_prior - self.log_guide)

    def kl(self, site: str | None = None) -> Tensor:
        """The divergence KL(q || p) of one site, or of all, times kl_weight, in closed form: [K, N], nats.

        With several sites the sum is the divergence of the joint in expectation, if no site's densities
        depend on a draw that comes after it; that is granted where guide and model have the same order. In another
        one that of a single site, at the draws of the others, is no part of the joint's.

        Raises:
            ModelError: there is no closed form (the site is named), or guide and model differ in order.
        """
        if site is not None:
            return self.kl_weight * self._site_kl(self.sites[site])
        require_accounted(self.sites)
        for each in self.sites.values():
            _prior_of(each)
        self.require_same_order()
        return self.kl_weight * self._total([self._site_kl(s) for s in self.sites.values()])

    def coordinate_kl(self, site: str) -> Tensor:
        """The divergence of every coordinate of one site, times kl_weight, in closed form: [K, N, *event], nats.

        Raises:
            ModelError: guide and prior are not both diagonal Gaussians.
        """
        latent = self.sites[site]
        try:
            if latent.p is None:
                raise NotImplementedError
            per_coordinate = coordinate_kl(unmasked(latent.q), unmasked(latent.p))
        except NotImplementedError:
            raise ModelError(f"site {site!r}: the KL of single dimensions needs diagonal Gaussians") from None
        if latent.standing is not None:
            raise ModelError(f"site {site!r} stands in further plates inside a datum: no KL of single dimensions")
        mask = batch_mask(latent.mask, latent.q, latent.p)
        whole = per_coordinate.expand(*self.log_likelihood.shape, *latent.q.event_shape)
        # Mask and scale are [K, N], so that these dimensions have to be the last.
        by_unit = whole.movedim((0, 1), (-2, -1))
        counted = per_datum(site, by_unit, by_unit.shape, latent.scale, mask)
        return self.kl_weight * counted.movedim((-2, -1), (0, 1))

    def weighted(self, kl_weight: Tensor | float, both_levels: bool = False) -> Terms:
        """Multiply the divergence from the prior of local sites, or of both levels, by ``kl_weight``."""
        whole = self.whole.weighted(kl_weight) if self.whole is not None and both_levels else self.whole
        return replace(self, kl_weight=self.kl_weight * kl_weight, whole=whole)

    def unscaled(self) -> Terms:
        """Remove the factors of ``poutine.scale`` in the user's programs from the terms."""
        if self.whole is not None and self.whole.unscaled_log_likelihood is not None:
            self = replace(self, whole=self.whole.unscaled())
        if self.unscaled_log_likelihood is None:
            return self
        sites = {name: replace(site, scale=1.0) for name, site in self.sites.items()}
        terms = replace(self, sites=sites, log_likelihood=self.unscaled_log_likelihood)
        return replace(terms, unscaled_log_likelihood=None)

    @cached_property
    def _site_kls(self) -> dict[tuple[str, bool], Tensor]:
        """The divergences computed so far, by site and by whether gradients were recorded."""
        return {}

    def _site_kl(self, site: Site) -> Tensor:
        # A step reads the divergence twice: in its loss and in what it records.
        key = site.name, torch.is_grad_enabled()
        known = self._site_kls.get((site.name, True), self._site_kls.get(key))
        if known is None:
            known = self._site_kls[key] = self._closed_form_kl(site)
        return known

    def _closed_form_kl(self, site: Site) -> Tensor:
        prior = _prior_of(site)
        if site.transforms:
            raise ModelError(
                f"site {site.name!r} transforms an auxiliary draw: no closed-form KL; use MonteCarloKL"
            )
        if is_point(site.q) and is_flat(prior):
            # Neither side has a density to compare: what is left of the bound is the reconstruction alone.
            return torch.zeros_like(self.log_likelihood)
        require_density(site.name, site.q, prior)
        try:
            # Masks of either side leave the same data out, whichever way they are said.
            return self._per_datum(site, kl_divergence(unmasked(site.q), unmasked(prior)), site.q, prior)
        except NotImplementedError:
            own = f" ({law.__name__} has a law of its own)" if (law := lawgiver(site.q) or lawgiver(prior)) else ""
            raise ModelError(
                f"site {site.name!r}: no closed-form KL between {_kind(site.q)} and {_kind(prior)}{own}; "
                "use MonteCarloKL"
            ) from None

    @property
    def _orders(self) -> tuple[tuple[str, ...], ...]:
        return self.order or (tuple(self.sites), self.model_order)

    @property
    def same_order(self) -> bool:
        """Tell whether guide and model draw in the same order, so that closed-form KLs of sites add up."""
        guide, model = self._orders
        # A site of the guide alone is refused by its own name.
        return tuple(name for name in guide if name in model) == model

    def require_same_order(self) -> None:
        """Refuse closed-form KLs of sites that do not add up.

        Raises:
            ModelError: guide and model draw in different orders; both are named.
        """
        if not self.same_order:
            guide, model = self._orders
            raise ModelError(
                f"guide draws sites {list(guide)} and model {list(model)}: in another order "
                "the sum of closed-form KLs is not the KL of the joint; reorder the guide or use MonteCarloKL"
            )

    def _per_datum(self, site: Site, density: Tensor, *masked: dist.TorchDistribution) -> Tensor:
        mask = batch_mask(site.mask, *masked)
        return per_datum(site.name, density, site.standing or self.log_likelihood.shape, site.scale, mask)

    def _total(self, terms: list[Tensor]) -> Tensor:
        return sum(terms, start=torch.zeros_like(self.log_likelihood))


def _prior_of(site: Site) -> dist.TorchDistribution:
    if site.p is None:
        raise ModelError(
            f"site {site.name!r} is auxiliary: it has no prior and its transform no closed-form KL; "
            "use MonteCarloKL"
        )
    return site.p


def _log_prior(site: Site) -> Tensor:
    prior = _prior_of(site)
    try:
        return log_prior(site.name, prior, site.read)
    except (KeyError, NotImplementedError):
        raise ModelError(
            f"site {site.name!r}: the prior {_kind(prior)} has no inverse, so no density at the guide's draws"
        ) from None


def _log_guide(site: Site) -> Tensor:
    if site.transforms:
        stopped = site.q_stopped.q if isinstance(site.q_stopped, StoppedDensity) else site.q_stopped
        return stated_density(stopped or site.q)
    require_density(site.name, site.q, site.p)
    # Under "path" the derivative through the draws is reweighted together with the model's, so the density
    # is taken at the value that the model reads; else at the guide's own draw.
    try:
        if site.q_stopped is None:
            return log_density(site.q, site.draw)
        if isinstance(site.q_stopped, StoppedDensity):
            return site.q_stopped.log_prob(site.read)
        return log_density(site.q_stopped, site.read)
    except (KeyError, NotImplementedError):
        raise ModelError(
            f"site {site.name!r}: {_kind(site.q)} has no inverse, so its density is known at its own draws alone; "
            "use MonteCarloKL or ImportanceWeighted"
        ) from None


def _entropy(site: Site) -> Tensor:
    try:
        if not states(unmasked(site.q), "entropy"):
            raise NotImplementedError
        return unmasked(site.q).entropy()
    except NotImplementedError:
        raise ModelError(
            f"site {site.name!r}: {_kind(site.q)} has no closed-form entropy; use MonteCarloKL"
        ) from None


def per_datum(
    name: str,
    density: Tensor,
    shape: torch.Size | Standing,
    scale: Tensor | float = 1.0,
    mask: Tensor | bool | None = None,
) -> Tensor:
    """Reduce a site's log density or KL to [K, N], with the user's own mask and scale applied.

    ``shape`` is [K, N], or where the site stands if its plates have to be summed over.

    Raises:
        ModelError: its batch shape does not broadcast to [K, N], or to K and its plates; or it has no N, as where a
            distribution sums over its batch: it would count in full for every datum.
    """
    try:
        if not isinstance(shape, Standing) and shape[-1] > 1 and density.shape[-1:] != shape[-1:]:
            raise RuntimeError
        if mask is not None:
            density = torch.where(torch.as_tensor(mask, device=density.device), density, 0.0)
        if not (isinstance(scale, float) and scale == 1.0):
            density = density * scale
        return shape.reduced(density) if isinstance(shape, Standing) else density.expand(shape)
    except RuntimeError:
        batch = shape.batch if isinstance(shape, Standing) else shape
        raise ModelError(
            f"site {name!r} has a density of shape {list(density.shape)} where "
            f"{'[K, N]' if batch is shape else '[K, *plates]'} = {list(batch)} was expected; "
            "is an .to_event() missing, or the data plate, or has a scale or a mask another shape?"
        ) from None


def _kind(distribution: dist.TorchDistribution) -> str:
    with contextlib.suppress(AttributeError):
        return f"{type(distribution).__name__}({type(distribution.base_dist).__name__})"
    return type(distribution).__name__
