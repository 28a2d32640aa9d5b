"""The rule which plate of a model is the plate of the data.

It is one that the observed sites share and that is as long as the data. Where several are, it is the one that all
of them share, that latent sites stand in, or along which an observed value runs through memory as the data do. A
plate is known by its name: two names at one place and of one size cannot be told apart, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.plates import PARTICLES, size_in_words
from ppl_vae.inference.pair.trace_site import Frame, TraceSite


def frames_of(node: TraceSite) -> list[Frame]:
    """The user's plates that a site of a trace stands in."""
    return [frame for frame in node["cond_indep_stack"] if frame.name != PARTICLES]


def vectorised(name: str, node: TraceSite, x: object = None) -> list[Frame]:
    """The user's vectorised plates that a site stands in; a sequential one is a loop, and says nothing of shapes.

    Args:
        name: the site's.
        node: of it.
        x: the data, which must not be what is looped over.

    Raises:
        ModelError: a sequential plate takes some of its members, or may be that of the data; the site is named.
    """
    frames = frames_of(node)
    found = [frame for frame in frames if frame.vectorized]
    size = size_of(x)
    for frame in frames:
        if frame.vectorized:
            continue
        whole = (frame.full_size or frame.size) == frame.size
        as_long = [f for f in found if size in (f.size, f.full_size)]
        of_data = frame.size == size and (not as_long or _runs_across(node["value"], as_long, x))
        if not whole or of_data or size is None:
            raise ModelError(_is_sequential(name, frame))
    return found


def _runs_across(value: object, frames: Iterable[Frame], x: object) -> bool:
    """Tell whether a value is a part of the data that does not run through memory along a plate as they do."""
    if not (isinstance(value, Tensor) and isinstance(x, Tensor)) or not value.dim():
        return False
    part = value.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return part and any(value.dim() >= -f.dim and value.stride(f.dim) != x.stride(0) for f in frames)


def size_of(x: object) -> int | None:
    """The number of data; None where they are no tensor."""
    return len(x) if isinstance(x, Tensor) and x.dim() else None


def require_no_loop(nodes: Iterable[tuple[str, TraceSite]]) -> None:
    """Refuse sequential plates where no vectorised one is as long as the data.

    Raises:
        ModelError: there is one; a site is named.
    """
    for name, node in nodes:
        for frame in frames_of(node):
            if not frame.vectorized:
                raise ModelError(_is_sequential(name, frame))


def _is_sequential(name: str, frame: Frame) -> str:
    return (
        f"site {name!r} stands in the sequential plate {frame.name!r}; make the plate vectorised"
        if (frame.full_size or frame.size) == frame.size
        else f"site {name!r} stands in the sequential plate {frame.name!r}, which takes {frame.size} of "
        f"{frame.full_size}; make it vectorised, or take all"
    )


def data_plate_of(
    guide: Mapping[str, TraceSite],
    latent: Mapping[str, TraceSite],
    observed: Mapping[str, TraceSite],
    frames: Mapping[int, list[Frame]],
    x: object,
    known_groups: frozenset[str],
) -> Frame:
    """The data plate of a model.

    Args:
        guide: trace nodes of the guide's sites.
        latent: of the model's latent sites.
        observed: of its observed sites.
        frames: the plates of every node, by its identity.
        x: the data.
        known_groups: names of plates that are known from other data not to be the data's.

    Raises:
        ModelError: there is none, or it cannot be told which it is.
    """
    size = size_of(x)
    plates = {f.name: f for node in observed.values() for f in frames[id(node)] if f.name not in known_groups}
    if not plates:
        named = (*guide.items(), *latent.items(), *observed.items())
        name = next(name for name, node in named if not frames[id(node)])
        raise ModelError(
            f"site {name!r} stands in no plate, and no observed site does: a bound per datum needs the data in a "
            "vectorised plate, as in pyro.plate('data', len(x))"
        )
    fitting = [f for f in plates.values() if size is None or size in (f.size, f.full_size)]
    if not fitting:
        if len(plates) == 1:
            return next(iter(plates.values()))
        raise ModelError(
            f"none of the plates {in_words(plates.values())} is as long as the data, {size}: the plate that holds "
            "a datum each must come from x, as in pyro.plate('data', len(x))"
        )
    within = [node for node in observed.values() if any(f in frames[id(node)] for f in fitting)]
    latents = [frames[id(node)] for node in latent.values()]
    rules = (
        lambda f: all(f in frames[id(node)] for node in within),
        lambda f: f.size == size,
        lambda f: any(f in stack for stack in latents),
        lambda f: any(_runs_along(node["value"], f, x) for node in within),
    )
    for rule in rules:
        fitting = [f for f in fitting if rule(f)] or fitting
    if len(fitting) > 1 or _has_a_double(fitting[0], latent, observed, frames, known_groups):
        doubles = fitting if len(fitting) > 1 else [fitting[0], *_doubles(fitting[0], latent, observed, frames)]
        raise ModelError(
            f"plates {in_words(doubles)} are both as long as the data, {size}, so that it cannot be told which is "
            "the plate of the data: give them one name if they are one, data of another number, or the model an "
            "attribute group_plates with the names of the others"
        )
    return fitting[0]


def _runs_along(value: object, frame: Frame, x: object) -> bool:
    """Tell whether an observed value runs through memory along a plate as the data do."""
    if not (isinstance(value, Tensor) and isinstance(x, Tensor)) or value.dim() < -frame.dim:
        return False
    return value.data_ptr() == x.data_ptr() and value.stride(frame.dim) == x.stride(0)


def _doubles(
    data: Frame,
    latent: Mapping[str, TraceSite],
    observed: Mapping[str, TraceSite],
    frames: Mapping[int, list[Frame]],
) -> list[Frame]:
    """Plates of the model at the data's dimension and of their size, under other names."""
    others = {f.name: f for nodes in (latent, observed) for node in nodes.values() for f in frames[id(node)]}
    return [f for f in others.values() if f.name != data.name and (f.dim, f.size) == (data.dim, data.size)]


def _has_a_double(
    data: Frame,
    latent: Mapping[str, TraceSite],
    observed: Mapping[str, TraceSite],
    frames: Mapping[int, list[Frame]],
    known_groups: frozenset[str],
) -> bool:
    return any(f.name not in known_groups for f in _doubles(data, latent, observed, frames))


class IsLocal:
    """Tell whether a site is local: in the model by the data plate's name; in the guide by the model's word."""

    def __init__(
        self,
        data: Frame,
        frames: Mapping[int, list[Frame]],
        latent: Mapping[str, TraceSite],
        observed: Mapping[str, TraceSite],
        guide: Mapping[str, TraceSite],
    ) -> None:
        self.data, self.frames, self.latent, self.guide = data, frames, latent, guide
        self.in_model = {**latent, **observed}
        self.others = {f.name for node in self.in_model.values() for f in frames[id(node)]} - {data.name}

    def __call__(self, name: str, node: TraceSite) -> bool:
        """Tell it of a site of either program.

        Raises:
            ModelError: it stands elsewhere in the guide than in the model; it is named.
        """
        if name in self.latent and name in self.guide:
            self._require_alike(name)
        if name in self.in_model:
            return any(f.name == self.data.name for f in self.frames[id(self.in_model[name])])
        return any(self._is_datas(f) for f in self.frames[id(node)])

    def _is_datas(self, frame: Frame) -> bool:
        place = (frame.dim, frame.size, frame.full_size or frame.size)
        same = place == (self.data.dim, self.data.size, self.data.full_size or self.data.size)
        return same and frame.name not in self.others

    def _require_alike(self, name: str) -> None:
        """Refuse a site that stands elsewhere in the guide than in the model."""
        ours, theirs = (self.frames[id(nodes[name])] for nodes in (self.guide, self.latent))
        places = [sorted((f.dim, f.size, f.full_size or f.size) for f in stack) for stack in (ours, theirs)]
        if places[0] == places[1]:
            return
        if [dim for dim, *_ in places[0]] == [dim for dim, *_ in places[1]]:
            (other, plate) = next(pair for pair in zip(*places, strict=True) if pair[0] != pair[1])
            raise ModelError(
                f"site {name!r} stands in a plate of size {size_in_words(*other[1:])} in the guide and of "
                f"{size_in_words(*plate[1:])} in the model; a guide with parameters of each datum takes all its "
                "data at once"
            )
        raise ModelError(
            f"site {name!r} stands in {in_words(ours)} in the guide and in {in_words(theirs)} in the model; let it "
            "stand in the same plates in both"
        )


def in_words(frames: Iterable[Frame]) -> str:
    """Plates in the words of a refusal."""
    told = [f"{f.name!r} (dim {f.dim}, size {f.size})" for f in frames]
    return " and ".join(told) if told else "no plate"
