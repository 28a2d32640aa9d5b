r"""Where the sites of a pair stand: in the data plate (local), or outside of it (global).

    log p(x_n, z_n | g)    a local site: summed over further plates inside a datum, [K, N]
    log p(g)               a global site, alone or in plates of its own: summed over those, [K]

The data plate is the one plate that the observed sites share and that is as long as the data, at whatever
dimension. Plates of the user's own take the dimensions from the right; the particles' plate stands to the left of
all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.data_plate import (
    IsLocal,
    data_plate_of,
    frames_of,
    in_words,
    require_no_loop,
    size_of,
    vectorised,
)
from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.plates import PARTICLES
from ppl_vae.inference.pair.trace_site import Frame, TraceSite

ALONE = "this asks for the densities of each datum on its own, with every site in one data plate at dim -1"


@dataclass(frozen=True)
class Standing:
    """The place of a site: from the batch of its density, [K, *plates], to [K, N] or, of a global site, [K, 1].

    Attributes:
        shape: [K, N], or [K, 1] of a global site.
        batch: K and the size of every dimension of the user's plates, 1 where the site stands in none.
        summed: the dimensions of its plates other than the data's, counted from the right.
        data_dim: that of the data plate; None of a global site.
        factor: full size over size of its subsampled plates, without the data's.
    """

    shape: torch.Size
    batch: tuple[int, ...]
    summed: tuple[int, ...] = ()
    data_dim: int | None = -1
    factor: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Tell whether the batch of its densities is [K, N] as it is."""
        return self.batch == self.shape and not self.summed and self.factor == 1.0

    def reduced(self, density: Tensor) -> Tensor:
        """Sum a density over the site's further plates: its shape from [K, *plates] to ``shape``.

        Raises:
            RuntimeError: it has another batch.
        """
        if self.is_plain:
            return density.expand(self.shape)
        density = density.expand(self.batch)
        if self.factor != 1.0:
            density = density * self.factor
        if self.summed:
            density = density.sum(self.summed, keepdim=True)
        return density.reshape(self.shape)

    def over_the_data(self) -> Standing:
        """The same site as one of the set: summed over the data too."""
        if self.data_dim is None:
            return self
        shape = torch.Size((self.shape[0], 1))
        return Standing(shape, self.batch, (*self.summed, self.data_dim), None, self.factor)

    def spread(self, factor: Tensor) -> Tensor:
        """Lay out numbers [K, N] along the site's own batch, [K, *plates]."""
        sizes = [self.batch[0], *(1 for _ in self.batch[1:])]
        if self.data_dim is not None:
            sizes[self.data_dim] = self.shape[1]
        return factor.reshape(sizes)

    def in_order(self, value: Tensor, event_dim: int) -> Tensor:
        """The draws as [K, N, *further plates, *event]; N is 1 of a global site."""
        dims = len(self.batch)
        # Without particles, and in no plate, the dimensions on the left are missing.
        value = value.reshape(*(1 for _ in range(dims + event_dim - value.dim())), *value.shape)
        data = dims - 1 if self.data_dim is None else dims + self.data_dim
        kept = [0, *([] if self.data_dim is None else [data]), *(dims + dim for dim in sorted(self.summed))]
        sizes = [self.batch[dim] for dim in kept] + list(value.shape[dims:])
        if self.data_dim is None:
            sizes.insert(1, 1)
        order = kept + [dim for dim in range(dims) if dim not in kept] + list(range(dims, value.dim()))
        return value.permute(order).reshape(sizes)


@dataclass(frozen=True)
class Levels:
    """Where all sites of one run stand.

    Attributes:
        num_data: N, the size of the data plate.
        full_size: the number of data that it stands for; N where nothing is subsampled.
        standings: by site; empty where all of them are plain.
        plain: the standing of a site in the data plate alone.
        whole: the names of the global sites, latent and observed.
        nesting: the number of dimensions that the user's plates take.
        group_plates: the names of the model's plates other than the data's.
    """

    num_data: int
    full_size: int
    plain: Standing
    standings: Mapping[str, Standing] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    nesting: int = 1
    group_plates: frozenset[str] = frozenset()

    @property
    def data_scale(self) -> float:
        """The full size of the data plate over N."""
        return self.full_size / self.num_data

    def standing(self, name: str) -> Standing:
        """Where a site stands."""
        return self.standings.get(name, self.plain)


def nesting_of(nodes: Iterable[TraceSite]) -> int:
    """The number of dimensions that the user's plates take."""
    return max((-frame.dim for node in nodes for frame in frames_of(node) if frame.vectorized), default=1)


def find_levels(
    guide: Mapping[str, TraceSite],
    latent: Mapping[str, TraceSite],
    observed: Mapping[str, TraceSite],
    num_particles: int,
    x: object,
    nesting: int = 1,
    known_groups: Callable[[], frozenset[str]] = frozenset,
) -> Levels:
    """Find the data plate, and where every site stands.

    Args:
        guide: trace nodes of the guide's sites.
        latent: of the model's latent sites.
        observed: of its observed sites.
        num_particles: K.
        x: the data, whose length tells which plate is theirs.
        nesting: the dimensions to the right of the particles' plate.
        known_groups: gives the names of plates that are known from other data not to be the data's.

    Raises:
        ModelError: there is no such plate; or it is sequential, or another sequential one takes some of its
            members; or a site stands elsewhere in the guide than in the model; the site is named.
    """
    named = [(name, node) for nodes in (guide, latent, observed) for name, node in nodes.items()]
    plate = _the_one_plate(guide, (latent, observed)) if nesting == 1 else None
    if plate is not None:
        shape = torch.Size((num_particles, plate.size))
        return Levels(plate.size, plate.full_size or plate.size, Standing(shape, shape))
    frames = {id(node): vectorised(name, node, x) for name, node in named}
    if not any(size_of(x) in (f.size, f.full_size) for node in observed.values() for f in frames[id(node)]):
        require_no_loop(named)
    data = data_plate_of(guide, latent, observed, frames, x, known_groups())
    nesting = max(nesting, nesting_of(node for _, node in named))
    local = IsLocal(data, frames, latent, observed, guide)
    standings, whole = {}, set()
    for name, node in (*guide.items(), *latent.items(), *observed.items()):
        if name in standings:
            continue
        is_local = local(name, node)
        standings[name] = _standing(frames[id(node)], data if is_local else None, num_particles, data.size, nesting)
        if not is_local:
            whole.add(name)
    plain = _standing([data], data, num_particles, data.size, nesting)
    groups = {f.name for nodes in (latent, observed) for node in nodes.values() for f in frames[id(node)]}
    own_nesting = nesting_of(node for _, node in named)
    return Levels(
        data.size, data.full_size or data.size, plain, standings, frozenset(whole), own_nesting,
        frozenset(groups - {data.name}),
    )  # fmt: skip


def local_alone(nodes: Mapping[str, TraceSite], num_particles: int, x: object) -> Levels:
    """Where the sites of one program stand that must all be local, in one plate at dim -1.

    Args:
        nodes: trace nodes of its sites.
        num_particles: K.
        x: the data.

    Raises:
        ModelError: a site is global, or stands in further plates; it is named.
    """
    plate = _the_one_plate({}, (nodes,))
    if plate is not None:
        shape = torch.Size((num_particles, plate.size))
        return Levels(plate.size, plate.full_size or plate.size, Standing(shape, shape))
    plates: dict[str, Frame] = {}
    for name, node in nodes.items():
        frames = vectorised(name, node, x)
        if not frames:
            raise ModelError(f"site {name!r} stands in no plate: {ALONE}")
        if [frame.dim for frame in frames] != [-1]:
            raise ModelError(f"site {name!r} stands in {in_words(frames)}: {ALONE}")
        plates[frames[0].name] = frames[0]
    if len(plates) > 1:
        raise ModelError(f"sites stand in {in_words(plates.values())}: {ALONE}")
    only = next(iter(plates.values()))
    if only.size != size_of(x):
        require_no_loop(nodes.items())
    shape = torch.Size((num_particles, only.size))
    return Levels(only.size, only.full_size or only.size, Standing(shape, shape))


def _the_one_plate(guide: Mapping[str, TraceSite], programs: Sequence[Mapping[str, TraceSite]]) -> Frame | None:
    """The data plate where every site stands in it, at dim -1, and in no other; else None."""
    plates = [_only_plate(nodes) for nodes in (*programs, guide) if nodes]
    found = [plate for plate in plates if plate is not None]
    if not found or len(found) < len(plates):
        return None
    first = found[0]
    # In one program a plate is known by its name; another may call it as it likes.
    names = {plate.name for plate in found[: len(found) - bool(guide)]}
    alike = all((plate.size, plate.full_size) == (first.size, first.full_size) for plate in found)
    return first if alike and len(names) <= 1 else None


def _only_plate(nodes: Mapping[str, TraceSite]) -> Frame | None:
    """The one plate, at dim -1, that all sites of a program stand in; else None."""
    found: list[Frame] = []
    for node in nodes.values():
        number = len(found)
        found += [frame for frame in node["cond_indep_stack"] if frame.name != PARTICLES]
        if len(found) != number + 1:
            return None
        own, first = found[-1], found[0]
        if own.dim != -1 or not own.vectorized:
            return None
        if (own.name, own.size, own.full_size) != (first.name, first.size, first.full_size):
            return None
    return found[0] if found else None


def _standing(
    frames: Sequence[Frame], data: Frame | None, num_particles: int, num_data: int, nesting: int
) -> Standing:
    sizes, summed, factor = [1] * nesting, [], 1.0
    for frame in frames:
        sizes[frame.dim] = frame.size
        if data is None or frame.dim != data.dim:
            summed.append(frame.dim)
            factor *= (frame.full_size or frame.size) / frame.size
    shape = torch.Size((num_particles, 1 if data is None else num_data))
    return Standing(shape, (num_particles, *sizes), tuple(summed), None if data is None else data.dim, factor)


def ordered_value(standing: Standing, value: Tensor, event_dim: int) -> Tensor:
    """The draws of a site as [K, N, *further plates, *event], with what the distribution keeps on them."""
    return carried(value, lambda draw: standing.in_order(draw, event_dim))
