"""Draws with the tensors that their distributions keep on them.

Pyro's straight-through relaxations round their draw, keep the soft value as an attribute of the tensor, and
take the density there. A view, a detached copy or a slice is another tensor without the attribute, and its
density another number. Here views carry along what the draw carries; where values alone are handed on, such
draws are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ppl_vae.declared import instance_attributes
from ppl_vae.errors import ModelError


def kept_on(draw: object) -> dict[str, object]:
    """The tensors that a distribution keeps on a draw, by the attribute's name."""
    return dict(instance_attributes(draw))


def carried(draw: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``view`` to a draw, and to every tensor of the same shape that is kept on it."""
    seen = view(draw)
    for name, kept in kept_on(draw).items():
        setattr(seen, name, view(kept) if isinstance(kept, Tensor) and kept.shape == draw.shape else kept)
    return seen


def with_kept(draw: Tensor) -> list[Tensor]:
    """The draw and the tensors that are kept on it, through all of which a density may depend on it."""
    return [draw, *(kept for kept in kept_on(draw).values() if isinstance(kept, Tensor))]


def require_plain(site: str, draw: object) -> None:
    """Refuse a site whose density is known at its own draws alone, because they carry what a value does not.

    Raises:
        ModelError: the site is named.
    """
    kept = kept_on(draw)
    if kept:
        raise ModelError(
            f"site {site!r}: its distribution keeps {next(iter(kept))!r} on every draw and has no density at other "
            "values; use importance sampling and the guide's own draws"
        )
