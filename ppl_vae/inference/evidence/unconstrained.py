r"""The latent sites of a pair as one vector of real numbers, and the path of densities that annealing walks.

    log f_b(u) = log f_0(u) + b log r(u),    b from 0 to 1,    f_1(z) = p(x, z)

From the prior f_0 = p(z) and r = p(x|z); from the guide f_0 = q(z|x) and r = p(x, z) / q(z|x). A constrained
site stands in R^d through ``supports.to_support``, with the Jacobian in f_0; an angle stands on its circle.

Masked latents that nothing reads keep their prior, and the guide's density: log p(x) is the same, and chains have a
density to move them by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from pyro import distributions as dist
from pyro.distributions.transforms import Transform
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.evidence.supports import (
    Wrap,
    free_shape,
    is_circular,
    lies_in_support,
    require_fixed,
    to_support,
)
from ppl_vae.inference.pair.draws import require_plain
from ppl_vae.inference.pair.faulty_draws import require_faithful_draws
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.hidden_noise import require_same_density
from ppl_vae.inference.pair.joint import log_guide as log_guide_at
from ppl_vae.inference.pair.joint import log_joint, terms_at
from ppl_vae.inference.pair.masked_latents import drawn_anew, require_unread
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.supports import bare, require_cover, require_data_in_support
from ppl_vae.inference.pair.terms import Observation, Site, per_datum
from ppl_vae.inference.pair.trace import run_model
from ppl_vae.inference.pair.trace_site import TraceSite

Start = Literal["prior", "guide"]


@dataclass(frozen=True)
class _Coordinates:
    """The place of a site in the vector."""

    transform: Transform
    event_shape: torch.Size
    size: int


class LatentVector:
    """The latent sites of a model's data as vectors u of real numbers, D for each datum.

    Args:
        model: the generative program.
        x: the data [N, *event_shape], where the model is.

    Attributes:
        sites: where each site stands in the vector.
        counted: whether a coordinate of a datum is in the density, which a masked one is not [N, D]; None where all
            are.

    Raises:
        ModelError: a site is discrete, has no transform to the real numbers, has an improper prior, or a support
            that depends on another site. The site is named. Or the model's density at a point is another at every
            call.
    """

    def __init__(self, model: Program, x: Tensor) -> None:
        self.model, self.x = model, x
        with torch.no_grad():
            first, second = _prior_run(model, x, 1), _prior_run(model, x, 2)
            self.sites = {name: _coordinates(name, node["fn"]) for name, node in first.items()}
            for name, node in first.items():
                require_fixed(name, node["fn"], second[name]["fn"], node["value"])
            self.counted = _counted(first, self.sites)
            values = {name: node["value"].unsqueeze(0) for name, node in first.items()}
            require_same_density("model", model, lambda: _log_density(model, x, values), x.device)
            if self.counted is not None:
                _require_unread(model, x, first, values)

    @property
    def dim(self) -> int:
        """The number D of real numbers that the latent sites of a datum take."""
        return sum(site.size for site in self.sites.values())

    @property
    def has_angles(self) -> bool:
        """Tell whether a site stands on a circle, where many u are one z."""
        return any(isinstance(site.transform, Wrap) for site in self.sites.values())

    @torch.no_grad()
    def prior_draw(self, num_chains: int, is_start: bool = True) -> Tensor:
        """Independent draws from the prior: [C, N, D], from the current stream.

        Args:
            num_chains: C.
            is_start: whether chains only start from them, which may be anywhere.

        Raises:
            ModelError: draws of a site do not follow its density where they must; it is named.
        """
        nodes = _prior_run(self.model, self.x, num_chains)
        if not is_start:
            require_faithful_draws({name: node["fn"] for name, node in nodes.items()})
        return self.pack({name: _chains(nodes[name]["value"], num_chains) for name in self.sites})

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Turn latent values [C, N, *event] by site into one vector u [C, N, D].

        Raises:
            ModelError: a site has no value; it is named.
        """
        missing = [name for name in self.sites if name not in values]
        if missing:
            raise ModelError(f"site {missing[0]!r} was given no value; sites given: {list(values)}")
        parts = [site.transform.inv(values[name]) for name, site in self.sites.items()]
        return torch.cat([part.reshape(*part.shape[:2], -1) for part in parts], -1)

    def unpack(self, position: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Turn u [C, N, D] into latent values [C, N, *event] by site, and log |dz/du| [C, N]."""
        values, log_jacobian = {}, position.new_zeros(position.shape[:2])
        parts = position.split([site.size for site in self.sites.values()], -1)
        for (name, site), part in zip(self.sites.items(), parts, strict=True):
            free = part.reshape(*part.shape[:2], *site.event_shape)
            values[name] = site.transform(free)
            log_det = site.transform.log_abs_det_jacobian(free, values[name])
            log_jacobian = log_jacobian + log_det.reshape(*part.shape[:2], -1).sum(-1)
        return values, log_jacobian

    def on_circle(self, position: Tensor) -> Tensor:
        """Bring angles that have gone around back to [-pi, pi); other coordinates stay as they are."""
        return on_circle(position, {name: (site.transform, site.size) for name, site in self.sites.items()})

    def log_density(self, position: Tensor) -> Tensor:
        """Evaluate log p(x, z(u)) + log |dz/du| at u [C, N, D]: [C, N], nats. Gradients flow to u."""
        values, log_jacobian = self.unpack(position)
        return _log_density(self.model, self.x, values) + log_jacobian


def on_circle(position: Tensor, sites: Mapping[str, tuple[Transform, int]]) -> Tensor:
    """Bring the angles in u [*batch, D] back to [-pi, pi), given each site's transform and its size."""
    if not any(isinstance(transform, Wrap) for transform, _ in sites.values()):
        return position
    parts = position.split([size for _, size in sites.values()], -1)
    homes = [
        transform(part) if isinstance(transform, Wrap) else part
        for (transform, _), part in zip(sites.values(), parts, strict=True)
    ]
    return torch.cat(homes, -1)


class LatentPath(LatentVector):
    """The geometric path from the prior or the guide to p(x, z), for C chains on N data.

    Args:
        model: the generative program.
        guide: its guide.
        x: the data [N, *event_shape], where the pair is.
        start: "prior" or "guide".

    Raises:
        ModelError: a site is discrete, has no transform to the real numbers, or a support that depends on
            another site; or the guide cannot start a path. The site is named.
    """

    def __init__(self, model: Program, guide: Program, x: Tensor, start: Start = "prior") -> None:
        if start not in get_args(Start):
            raise ModelError(unknown_name("start", start, get_args(Start)))
        super().__init__(model, x)
        self.guide, self.start = guide, start
        with torch.no_grad():
            self._q = self._guide_of_one_site() if start == "guide" else None

    @torch.no_grad()
    def draw(self, num_chains: int) -> Tensor:
        """Independent draws from f_0: [C, N, D], from the current stream."""
        if self.start == "prior":
            return self.prior_draw(num_chains, is_start=False)
        terms = run_terms(self.model, self.guide, (self.x,), {}, num_chains)
        for name in self.sites:
            _require_shared_support(terms.sites[name])
        return self.pack({name: terms.sites[name].value for name in self.sites})

    def __call__(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate log f_0 and log r at u [C, N, D]: [C, N] each, nats. Gradients flow to u."""
        values, log_jacobian = self.unpack(position)
        if self.start == "prior":
            joint = log_joint(self.model, self.x, values, whole=True)
            return joint.log_prior + log_jacobian, joint.log_likelihood
        if self.counted is not None:
            joint = log_joint(self.model, self.x, values, whole=True)
            of_guide = log_guide_at(self.guide, self.x, values, whole=True)
            return of_guide + log_jacobian, joint.log_prior + joint.log_likelihood - of_guide
        if self._q is None:
            terms = terms_at(self.model, self.guide, self.x, values)
            return terms.log_guide + log_jacobian, terms.log_weight
        joint, ((name, value),) = log_joint(self.model, self.x, values), values.items()
        log_guide = per_datum(name, self._q.log_prob(value), joint.log_prior.shape)
        return log_guide + log_jacobian, joint.log_prior + joint.log_likelihood - log_guide

    def _guide_of_one_site(self) -> dist.TorchDistribution | None:
        """The guide's distribution where it has one plain site, so that it need not run again; else None.

        Raises:
            ModelError: the guide has sites that the model has not.
        """
        terms = run_terms(self.model, self.guide, (self.x,))
        for name in terms.sites:
            if name not in self.sites:
                raise ModelError(f"site {name!r} is auxiliary: the guide cannot start a path; use start='prior'")
        require_cover(terms.sites)
        values = {name: site.value for name, site in terms.sites.items()}
        require_same_density(
            "guide", self.guide, lambda: terms_at(self.model, self.guide, self.x, values).log_guide, self.x.device
        )
        (site, *more) = terms.sites.values()
        plain = not more and self.counted is None and isinstance(site.scale, float) and site.scale == 1.0
        return site.q if plain else None


def _log_density(model: Program, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    joint = log_joint(model, x, values, whole=True)
    return joint.log_prior + joint.log_likelihood


def _require_unread(
    model: Program, x: Tensor, nodes: Mapping[str, TraceSite], values: Mapping[str, Tensor]
) -> None:
    """Refuse masked latents whose values move a density that counts; the site is named."""
    masks = {name: value_mask(node["fn"], node["mask"]) for name, node in nodes.items()}
    moved = {
        name: drawn_anew(nodes[name]["fn"], nodes[name]["value"], mask).unsqueeze(0)
        for name, mask in masks.items()
        if mask is not None and not bool(mask.all())
    }

    def run(at: Given) -> Mapping[str, TraceSite]:
        latent, observed, _ = run_model(model, (x,), 1, at)
        return {**latent, **observed}

    require_unread(values, moved, run)


def _prior_run(model: Program, x: Tensor, num_chains: int) -> Mapping[str, TraceSite]:
    try:
        latent, observed, _ = run_model(model, (x,), num_chains, Messenger())
    except NotImplementedError as error:
        raise ModelError("the prior cannot be drawn from: one of its distributions has no sample method") from error
    if not latent:
        raise ModelError("the model has no latent site")
    for name, node in latent.items():
        require_plain(name, node["value"])
    observations = {name: Observation(n["value"], n["fn"], n["mask"]) for name, n in observed.items()}
    if traits(model).check_data is None:
        require_data_in_support(observations)
    return latent


def _chains(value: Tensor, num_chains: int) -> Tensor:
    return value.unsqueeze(0) if num_chains == 1 else value


def _coordinates(name: str, p: dist.TorchDistribution) -> _Coordinates:
    free = free_shape(name, p)
    return _Coordinates(to_support(p), free, max(1, free.numel()))


def _counted(nodes: Mapping[str, TraceSite], sites: Mapping[str, _Coordinates]) -> Tensor | None:
    """Mark the coordinates of every datum that no mask leaves out [N, D]; None where there is no mask."""
    masks = {name: value_mask(node["fn"], node["mask"]) for name, node in nodes.items()}
    if all(mask is None for mask in masks.values()):
        return None
    parts = []
    for name, node in nodes.items():
        whole = torch.ones_like(node["value"], dtype=torch.bool)
        mask = masks[name]
        kept = (whole if mask is None else whole & mask.to(whole.device)).reshape(len(whole), -1)
        size = sites[name].size
        # Of a simplex or a matrix of correlations the free coordinates are others than those of the value.
        parts.append(kept if kept.shape[1] == size else kept.all(1, keepdim=True).expand(-1, size))
    return torch.cat(parts, 1)


def _require_shared_support(site: Site) -> None:
    """Refuse a path from q that cannot reach all of p: each must put its draws in the other's support."""
    p, q = site.p, site.q
    if p is None:
        return
    alike = is_circular(p) == is_circular(q) and lies_in_support(p, site.value)
    if alike:
        devices = [site.value.device] if site.value.is_cuda else []
        with torch.random.fork_rng(devices):
            alike = lies_in_support(q, p.expand(site.value.shape[:2]).sample())
    if not alike:
        kinds = f"{type(bare(q)).__name__} and {type(bare(p)).__name__}"
        raise ModelError(
            f"site {site.name!r}: guide and prior have different supports ({kinds}); use start='prior'"
        )
