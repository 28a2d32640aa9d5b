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
from collections.abc import Mapping
from typing import Any

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from ppl_vae.errors import ModelError

# Up to so many coordinates of an auxiliary draw the volume of a transform is computed and compared.
MOST_COORDINATES = 128
TOLERANCE = 1e-2


def is_transform(q: Any) -> bool:
    """Tell whether a site is a value computed from other draws that brings its own log density."""
    return isinstance(q, dist.Delta)


def transforms_of(guide: Mapping[str, Any], latent: Mapping[str, Any]) -> frozenset[str]:
    """The Delta sites that are transforms of a guide's auxiliary draws; none where they are no change of variables.

    Args:
        guide: trace nodes of the guide's sites.
        latent: trace nodes of the model's latent sites.
    """
    auxiliary = {name: node for name, node in guide.items() if name not in latent}
    if not auxiliary:
        return frozenset()
    transforms = [
        name
        for name, node in guide.items()
        if name in latent and is_transform(node["fn"]) and not latent[name]["fn"].support.is_discrete
    ]
    num_auxiliary = sum(_coordinates(node) for node in auxiliary.values())
    num_transformed = sum(_free_coordinates(guide[name], latent[name]["fn"]) for name in transforms)
    exact = num_auxiliary == num_transformed and not any(is_transform(node["fn"]) for node in auxiliary.values())
    return frozenset(transforms if exact else ())


def require_accounted(sites: Mapping[str, Any]) -> None:
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


def _coordinates(node: Any) -> int:
    return max(1, node["fn"].event_shape.numel())


def _free_coordinates(node: Any, prior: Any) -> int:
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

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            msg["value"] = self.leaves[msg["name"]] = msg["value"].detach().requires_grad_()


def require_change_of_variables(
    guide: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], sites: Mapping[str, Any]
) -> None:
    """Compare the log densities of a guide's Delta sites with the volume of the transform, on one draw per datum.

    Args:
        guide: a Pyro program.
        args: its arguments.
        kwargs: likewise.
        sites: of Terms, by name.

    Raises:
        ModelError: they differ, or the transform takes fewer dimensions than were drawn; a site is named.
    """
    auxiliary = [name for name, site in sites.items() if site.p is None]
    if not any(site.transforms for site in sites.values()):
        return
    with torch.enable_grad(), poutine.block(), _Leaves(frozenset(auxiliary)) as drawn:
        nodes = poutine.trace(guide).get_trace(*args, **kwargs).nodes
        deltas = [name for name, site in sites.items() if site.transforms]
        size = sum(_coordinates(nodes[name]) for name in auxiliary)
        if size > MOST_COORDINATES:
            return
        stated = sum(nodes[name]["fn"].log_density for name in deltas)
        volume = _log_volume(
            [drawn.leaves[name] for name in auxiliary],
            [len(nodes[name]["fn"].event_shape) for name in auxiliary],
            [(nodes[name]["value"], sites[name].p) for name in deltas],
        )
    stated = torch.as_tensor(stated, dtype=volume.dtype, device=volume.device).expand(volume.shape)
    wrong = (stated + volume).abs() > TOLERANCE * (1 + volume.abs())
    if bool(wrong.float().mean() > 0.5):
        off = (stated + volume).abs().median().item()
        raise ModelError(
            f"site {deltas[0]!r}: the log_density of its Delta is {off:.3g} nats from minus the log volume "
            f"|dz/da| of the transform of {auxiliary[0]!r}, so that the guide has no density"
        )


def _log_volume(leaves: list[Tensor], event_dims: list[int], values: list[tuple[Tensor, Any]]) -> Tensor:
    """The log volume log |dz/da| per datum [N], z measured as torch measures densities on its support."""
    batch = leaves[0].shape[: leaves[0].dim() - event_dims[0]]
    free, volume = [], torch.zeros(batch, dtype=leaves[0].dtype, device=leaves[0].device)
    for value, prior in values:
        transform = biject_to(prior.support)
        u = transform.inv(value)
        log_det = transform.log_abs_det_jacobian(u, value)
        volume = volume + log_det.reshape(*batch, -1).sum(-1)
        free.append(u.reshape(*batch, -1))
    together = torch.cat(free, -1)
    rows = []
    for index in range(together.shape[-1]):
        slopes = torch.autograd.grad(together[..., index].sum(), leaves, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([slope.reshape(*batch, -1) for slope in slopes], -1))
    return (volume + torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet).detach()
