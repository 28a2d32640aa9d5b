r"""Sites that a guide has and the model has not.

A guide that draws a ~ q(a | x) and z ~ q(z | a, x) says log q(a, z | x), and

    E_q [ log p(x, z) - log q(a, z | x) ]

is no bound on log p(x): the entropy of a alone moves it up without end. A bound needs the reverse model r(a | x, z)
in the place of the missing prior (Ranganath, Tran & Blei 2016; Maaloe et al. 2016), which is a site of the model
under a's name, or a integrated out.

One kind needs neither: z = T(a) as a Delta site with log_density = - log |dT/da|, as Pyro's AutoNormal writes
it. Then log q(a | x) + log_density is log q(z | x), a change of variables.

Ranganath, Tran & Blei (2016): https://arxiv.org/abs/1511.02386
Maaloe, Sonderby, Sonderby & Winther (2016): https://arxiv.org/abs/1602.05473
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, biject_to

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.levels import Levels
from ppl_vae.inference.pair.point_mass import is_continuous, is_point, stated_density, without_events
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace_site import TraceSite, sites_of

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Site

# Up to so many coordinates of an auxiliary draw the volume of a transform is computed and compared.
MOST_COORDINATES = 128
TOLERANCE = 1e-2


def is_transform(q: Distribution) -> bool:
    """Tell whether a site is a value computed from other draws that brings its own log density."""
    return isinstance(without_events(q), dist.Delta)


def transforms_of(
    guide: Mapping[str, TraceSite], latent: Mapping[str, TraceSite], levels: Levels
) -> tuple[frozenset[str], str | None]:
    """The Delta sites that are transforms of a guide's auxiliary draws, and the auxiliary that couples the data.

    There are none where they are no change of variables: at each level as many coordinates must be drawn as are
    made. A guide may draw the latents of all data from one global auxiliary, which then couples them.

    Args:
        guide: trace nodes of the guide's sites.
        latent: trace nodes of the model's latent sites.
        levels: where they stand.
    """
    auxiliary = {name: node for name, node in guide.items() if name not in latent}
    if not auxiliary:
        return frozenset(), None
    transforms = [
        name
        for name, node in guide.items()
        if name in latent and is_transform(node["fn"]) and is_continuous(latent[name]["fn"])
    ]
    if any(is_point(node["fn"]) for node in auxiliary.values()):
        return frozenset(), None
    surplus = {True: 0, False: 0}
    for name, node in auxiliary.items():
        surplus[name in levels.whole] += _coordinates(node) * _copies(levels, name)
    for name in transforms:
        surplus[name in levels.whole] -= _free_coordinates(guide[name], latent[name]["fn"]) * _copies(levels, name)
    if surplus == {True: 0, False: 0}:
        return frozenset(transforms), None
    if surplus[True] + levels.num_data * surplus[False] == 0 and surplus[True] > 0:
        return frozenset(transforms), next(name for name in auxiliary if name in levels.whole)
    return frozenset(), None


def _copies(levels: Levels, name: str) -> int:
    """In how many elements of further plates a site stands, besides the data's."""
    standing = levels.standing(name)
    return math.prod(standing.batch[dim] for dim in standing.summed)


def require_accounted(sites: Mapping[str, Site]) -> None:
    """Refuse densities of a guide that draws more than the model has, but for the sake of a change of variables.

    Args:
        sites: of Terms, by name.

    Raises:
        ModelError: the auxiliary site is named.
    """
    auxiliary = [name for name, site in sites.items() if site.p is None]
    if auxiliary and not any(site.transforms for site in sites.values()):
        site = auxiliary[0]
        raise ModelError(
            f"site {site!r} is in the guide but not in the model, so its entropy would "
            f"be added to the bound "
            f"without a reverse model: give the model a site {site!r} with a reverse model r({site} | x, "
            f"z), integrate it out, or "
            "make the latent a Delta(value, log_density=...) that transforms it"
        )


def _coordinates(node: TraceSite) -> int:
    return max(1, node["fn"].event_shape.numel())


def _free_coordinates(node: TraceSite, prior: Distribution) -> int:
    """The number of free coordinates of a value; a point on a simplex has one less than its coordinates."""
    event = node["fn"].event_shape
    with contextlib.suppress(NotImplementedError, ValueError):
        event = biject_to(prior.support).inverse_shape(event)
    return max(1, torch.Size(event).numel())


class _Leaves(Messenger):
    """Draws of auxiliary sites as leaves, by which what is computed from them can be differentiated."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names, self.leaves = names, dict[str, Tensor]()

    def _pyro_post_sample(self, msg: TraceSite) -> None:
        if msg["name"] in self.names:
            msg["value"] = self.leaves[msg["name"]] = msg["value"].detach().requires_grad_()


def require_change_of_variables(
    guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], sites: Mapping[str, Site]
) -> None:
    """Compare the log densities of a guide's Delta sites with the volume of the transform, on one draw per datum.

    Args:
        guide: a Pyro program.
        args: its arguments.
        kwargs: likewise.
        sites: of Terms, by name; all of one level.

    Raises:
        ModelError: they differ, or the transform takes fewer dimensions than were drawn; a site is named.
    """
    auxiliary = [name for name, site in sites.items() if site.p is None]
    deltas = [name for name, site in sites.items() if site.transforms]
    if not deltas:
        return
    with torch.enable_grad(), poutine.block(), _Leaves(frozenset(auxiliary)) as drawn:
        nodes = sites_of(poutine.trace(guide).get_trace(*args, **kwargs))
        leaves = {name: _OfOneDraw(sites[name], drawn.leaves[name]) for name in auxiliary}
        if sum(leaf.size for leaf in leaves.values()) > MOST_COORDINATES:
            return
        stated = sum(
            _OfOneDraw(sites[name], nodes[name]["value"]).density(stated_density(nodes[name]["fn"]))
            for name in deltas
        )
        volume = _log_volume(list(leaves.values()), [_OfOneDraw(sites[n], nodes[n]["value"]) for n in deltas])
    stated = torch.as_tensor(stated, dtype=volume.dtype, device=volume.device).expand(volume.shape)
    wrong = (stated + volume).abs() > TOLERANCE * (1 + volume.abs())
    if bool(wrong.float().mean() > 0.5):
        off = (stated + volume).abs().median().item()
        raise ModelError(
            f"site {deltas[0]!r}: the log_density of its Delta is {off:.3g} nats from minus the log volume "
            f"|dz/da| of the transform of {auxiliary[0]!r}, so that the guide has no density"
        )


class _OfOneDraw:
    """A site's value in a run with one draw, whose numbers can be sorted by datum; a global site is one datum."""

    def __init__(self, site: Site, value: Tensor) -> None:
        self.site, self.value = site, value
        place = site.standing
        # The site may have been run with many draws, which its place then says.
        self.place = None if place is None else replace(
            place, batch=(1, *place.batch[1:]), shape=torch.Size((1, place.shape[1]))
        )  # fmt: skip
        self.num_data = value.shape[0] if place is None else place.shape[1]

    @property
    def size(self) -> int:
        """The number of coordinates of a datum."""
        return self.value.numel() // self.num_data

    def by_datum(self, numbers: Tensor) -> Tensor:
        """Numbers that begin with the site's batch, as [N, D]."""
        if self.place is not None:
            batch = self.value.dim() - len(self.site.q.event_shape)
            numbers = self.place.in_order(numbers, numbers.dim() - batch)[0]
        return numbers.reshape(self.num_data, -1)

    def density(self, log_density: Tensor | float) -> Tensor:
        """A log density [N]."""
        found = torch.as_tensor(log_density)
        return found if self.place is None else self.place.reduced(found)[0]


def _log_volume(leaves: list[_OfOneDraw], values: list[_OfOneDraw]) -> Tensor:
    """The log volume log |dz/da| per datum [N], z measured as torch measures densities on its support."""
    first = leaves[0].value
    free, volume = [], torch.zeros(leaves[0].num_data, dtype=first.dtype, device=first.device)
    for each in values:
        assert each.site.p is not None
        transform = biject_to(each.site.p.support)
        u = transform.inv(each.value)
        volume = volume + each.by_datum(transform.log_abs_det_jacobian(u, each.value)).sum(-1)
        free.append(each.by_datum(u))
    together, given = torch.cat(free, -1), [leaf.value for leaf in leaves]
    rows = []
    for index in range(together.shape[-1]):
        slopes = torch.autograd.grad(together[:, index].sum(), given, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([leaf.by_datum(slope) for leaf, slope in zip(leaves, slopes, strict=True)], -1))
    return (volume + torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet).detach()
