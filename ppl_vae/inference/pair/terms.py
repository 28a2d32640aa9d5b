r"""The terms of ONE run of a (model, guide) pair. Everything else is short mathematics on top of them.

For data x_1..x_N and K particles z_nk ~ q(z | x_n), and for each latent site its value, q and p:

    log p(x_n | z_nk)    log p(z_nk)    log q(z_nk | x_n)    KL(q || p) of a site where it is closed
    log w_nk = log p(x_n | z_nk) + log p(z_nk) - log q(z_nk | x_n)

All of them are [K, N] and in nats. With a ``poutine.scale`` of the user's own the terms of a loss are
multiplied by it; those behind reported numbers are not (``unscaled``). How the values depend on the guide's
parameters is chosen by ``gradient``:

    "total"  reparameterised draws, and log q depends on the parameters as well
    "path"   reparameterised draws, log q has its parameters stopped (Roeder, Wu & Duvenaud 2017)
    "score"  the values are constants; only log q depends on the parameters
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args, overload

import torch
from numpy.typing import ArrayLike
from pyro import distributions as dist
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.admission import admit
from ppl_vae.inference.pair.auxiliary import require_accounted
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.pair import PairLike, called_with
from ppl_vae.inference.pair.point_mass import is_flat, is_point, log_prior, require_density
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.scales import is_scaled, unmasked
from ppl_vae.inference.pair.stopped import StoppedDensity
from ppl_vae.inference.pair.supports import require_data_in_support
from ppl_vae.inference.pair.trace import PairRun, run_pair
from ppl_vae.inference.pair.validity import require_valid
from ppl_vae.kl import coordinate_kl, kl_divergence

Gradient = Literal["total", "path", "score"]


@dataclass(frozen=True)
class Site:
    """One latent site of the pair.

    Attributes:
        name: its name.
        value: the draws [K, N, *event], as the model reads them.
        draw: the same numbers as the guide drew them (without the first dimension where K is 1). The
            guide's density is taken here, because flows remember the way they came; what flows back through
            ``value`` is the model's dependence on its latents alone.
        q: the guide's distribution, batch shape broadcastable to [K, N].
        p: the model's distribution; None for a site that only the guide has (auxiliary).
        q_stopped: q with the guide's parameters stopped, where gradient="path" asked for it.
        scale: the factor of ``poutine.scale`` in the user's programs on the site's log densities.
        mask: the mask of ``poutine.mask`` on them.
        transforms: whether q is a Delta that transforms an auxiliary draw and brings the log density of that.
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
    """

    value: Tensor
    p: dist.TorchDistribution
    mask: Tensor | bool | None = None

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
    """

    sites: Mapping[str, Site]
    model_order: tuple[str, ...]
    observations: Mapping[str, Observation]
    log_likelihood: Tensor
    data_scale: float = 1.0
    kl_weight: Tensor | float = 1.0
    unscaled_log_likelihood: Tensor | None = None

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
        return self._total([self._per_datum(s, _entropy(s)) for s in self.sites.values()])

    @property
    def is_bound(self) -> bool:
        """Tell whether log p(x|z) - KL is an ELBO: under an improper prior there is no log p(x) to bound."""
        return not any(is_flat(s.p) for s in self.sites.values())

    @property
    def log_weight(self) -> Tensor:
        """The log weight log p(x|z) + kl_weight (log p(z) - log q(z|x)): [K, N], nats."""
        return self.log_likelihood + self.kl_weight * (self.log_prior - self.log_guide)

    def kl(self, site: str | None = None) -> Tensor:
        """The divergence KL(q || p) of one site, or of all, times kl_weight, in closed form: [K, N], nats.

        With several sites the sum is the divergence of the joint in expectation, if no site's densities
        depend on a draw that comes after it; that is granted where guide and model have the same order.

        Raises:
            ModelError: there is no closed form (the site is named), or guide and model differ in order.
        """
        if site is not None:
            return self.kl_weight * self._site_kl(self.sites[site])
        require_accounted(self.sites)
        for each in self.sites.values():
            _prior_of(each)
        self._require_same_order()
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
            per_coordinate = coordinate_kl(latent.q, latent.p)
        except NotImplementedError:
            raise ModelError(f"site {site!r}: the KL of single dimensions needs diagonal Gaussians") from None
        return self.kl_weight * per_coordinate.expand(*self.log_likelihood.shape, *latent.q.event_shape)

    def weighted(self, kl_weight: Tensor | float) -> Terms:
        """Multiply the divergence from the prior by ``kl_weight`` (once more)."""
        return replace(self, kl_weight=self.kl_weight * kl_weight)

    def unscaled(self) -> Terms:
        """Remove the factors of ``poutine.scale`` in the user's programs from the terms."""
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
            return self._per_datum(site, kl_divergence(site.q, prior))
        except NotImplementedError:
            raise ModelError(
                f"site {site.name!r}: no closed-form KL between {_kind(site.q)} and {_kind(prior)}; "
                "use MonteCarloKL"
            ) from None

    def _require_same_order(self) -> None:
        if self.model_order != tuple(self.sites):
            raise ModelError(
                f"guide draws sites {list(self.sites)} and model {list(self.model_order)}: in another order "
                "the sum of closed-form KLs is not the KL of the joint; reorder the guide or use MonteCarloKL"
            )

    def _per_datum(self, site: Site, density: Tensor) -> Tensor:
        return per_datum(site.name, density, self.log_likelihood.shape, site.scale, site.mask)

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
        return log_prior(site.name, prior, site.value)
    except (KeyError, NotImplementedError):
        raise ModelError(
            f"site {site.name!r}: the prior {_kind(prior)} has no inverse, so no density at the guide's draws"
        ) from None


def _log_guide(site: Site) -> Tensor:
    if site.transforms:
        density: Any = site.q if site.q_stopped is None else getattr(site.q_stopped, "q", site.q_stopped)
        return torch.as_tensor(density.log_density)
    require_density(site.name, site.q, site.p)
    # Under "path" the derivative through the draws is reweighted together with the model's, so the density
    # is taken at the value that the model reads; else at the guide's own draw.
    try:
        if site.q_stopped is None:
            return log_density(site.q, site.draw)
        return site.q_stopped.log_prob(site.value)
    except (KeyError, NotImplementedError):
        raise ModelError(
            f"site {site.name!r}: {_kind(site.q)} has no inverse, so its density is known at its own draws alone; "
            "use MonteCarloKL or ImportanceWeighted"
        ) from None


def _entropy(site: Site) -> Tensor:
    try:
        return site.q.entropy()
    except NotImplementedError:
        raise ModelError(
            f"site {site.name!r}: {_kind(site.q)} has no closed-form entropy; use MonteCarloKL"
        ) from None


def per_datum(
    name: str,
    density: Tensor,
    shape: torch.Size,
    scale: Tensor | float = 1.0,
    mask: Tensor | bool | None = None,
) -> Tensor:
    """Reduce a site's log density or KL to [K, N], with the user's own mask and scale applied.

    Raises:
        ModelError: its batch shape does not broadcast to [K, N].
    """
    try:
        if mask is not None:
            density = torch.where(torch.as_tensor(mask, device=density.device), density, 0.0)
        if not (isinstance(scale, float) and scale == 1.0):
            density = density * scale
        return density.expand(shape)
    except RuntimeError:
        raise ModelError(
            f"site {name!r} has a density of shape {list(density.shape)} where [K, N] = {list(shape)} "
            "was expected; "
            "is an .to_event() missing, or the data plate, or has a scale or a mask another shape?"
        ) from None


@overload
def trace_terms(
    pair: PairLike,
    x: ArrayLike | Tensor,
    *args: Any,
    num_particles: int = 1,
    gradient: Gradient = "total",
    **kwargs: Any,
) -> Terms: ...


@overload
def trace_terms(
    model: Program,
    guide: Program,
    x: Any,
    *args: Any,
    num_particles: int = 1,
    gradient: Gradient = "total",
    **kwargs: Any,
) -> Terms: ...


def trace_terms(*args: Any, num_particles: int = 1, gradient: Gradient = "total", **kwargs: Any) -> Terms:
    """Run guide and model once on x and return every density per datum.

    It is called as trace_terms(pair, x, ...) or as trace_terms(model, guide, x, ...).

    Args:
        *args: the pair, or the two programs; x, the data and the programs' first argument; and their further
            arguments. The programs are called as model(x, *args, **kwargs) and guide(x, *args, **kwargs).
        num_particles: K draws per datum, vectorised in a plate at dim -2 (none where K is 1).
        gradient: the dependence of the terms on the guide's parameters; see the top of this file.
        **kwargs: further keyword arguments of both programs.

    Returns:
        By site the value [K, N, *event] with its q and p; log_likelihood, log_prior, log_guide and log_weight
        [K, N], in nats.

    Raises:
        ModelError: the pair has no densities per datum; the site is named.
        DataError: the model has a ``check_data`` and refuses x.

    >>> import torch
    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian")
    >>> terms = trace_terms(vae, torch.zeros(5, 4), num_particles=3)
    >>> terms.log_weight.shape, terms.sites["z"].value.shape
    (torch.Size([3, 5]), torch.Size([3, 5, 2]))
    """
    if gradient not in get_args(Gradient):
        raise ModelError(f"gradient must be one of {', '.join(get_args(Gradient))}, got {gradient!r}")
    pair, x, further, named = called_with(args, kwargs)
    given = admit(pair.model, x, *further, **named), *further
    return run_terms(pair.model, pair.guide, given, named, num_particles, gradient, as_loss=True)


def run_terms(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    num_particles: int = 1,
    gradient: Gradient = "total",
    draw_handler: Messenger | None = None,
    as_loss: bool = False,
) -> Terms:
    """Run ``trace_terms`` for reported numbers: of the unscaled model, over every datum of the first argument.

    ``draw_handler`` draws some of the guide's sites itself (see ``inference.estimators.discrete``).
    ``as_loss`` is the inside of a training step: the user's own scales are left in, a plate may take some of
    the data, and no value is looked at.
    """
    run = run_pair(model, guide, args, kwargs or {}, num_particles, gradient, draw_handler, every_datum=not as_loss)
    terms = _terms(run, num_particles)
    if as_loss:
        return terms
    terms = terms.unscaled()
    require_valid(model, guide, args, kwargs or {}, terms)
    return terms


def _terms(run: PairRun, num_particles: int) -> Terms:
    sites = {}
    for name, q_node in run.guide_sites.items():
        p_node = run.model_sites.get(name)
        value = q_node["value"]
        sites[name] = Site(
            name=name,
            value=value if num_particles > 1 else carried(value, lambda draw: draw.unsqueeze(0)),
            draw=run.draws[name],
            q=q_node["fn"],
            p=p_node["fn"] if p_node else None,
            q_stopped=run.stopped.get(name),
            scale=run.scales[name],
            mask=q_node["mask"],
            transforms=name in run.transforms,
        )
    shape = torch.Size((num_particles, run.num_data))
    observations = {
        name: Observation(node["value"], node["fn"], node["mask"]) for name, node in run.observed.items()
    }
    densities = {name: _observed_density(name, each) for name, each in observations.items()}

    def total(scales: Mapping[str, Any]) -> Tensor:
        parts = [
            per_datum(name, density, shape, scales.get(name, 1.0), run.observed[name]["mask"])
            for name, density in densities.items()
        ]
        return sum(parts[1:], start=parts[0])

    scaled = any(is_scaled(scale) for scale in run.scales.values())
    return Terms(
        sites,
        tuple(run.model_sites),
        observations,
        total(run.scales),
        run.data_scale,
        unscaled_log_likelihood=total({}) if scaled else None,
    )


def _observed_density(name: str, observation: Observation) -> Tensor:
    """log p(x) of one site: a category that there is not would else be an index out of bounds."""
    try:
        return log_density(observation.p, observation.value)
    except (RuntimeError, IndexError):
        require_data_in_support({name: observation})
        raise


def _kind(distribution: dist.TorchDistribution) -> str:
    with contextlib.suppress(AttributeError):
        return f"{type(distribution).__name__}({type(distribution.base_dist).__name__})"
    return type(distribution).__name__
