"""The batch and the event of every site, compared with [K, N] itself, or with K and its plates.

torch broadcasts whatever fits: data [N, 1] under a scalar site per datum become [N, N], and where there happen
to be N particles the sum looks like one of [K, N]. So shapes are compared with what they must be.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.levels import Levels
from ppl_vae.inference.pair.plates import plate_refusal
from ppl_vae.inference.pair.trace_site import TraceSite


def require_shapes(nodes: Mapping[str, TraceSite], levels: Levels) -> None:
    """Refuse sites whose batch is not that of their plates: [K, N], [1, N] or [N] in the data plate alone.

    Args:
        nodes: trace nodes of sample sites.
        levels: where they stand.

    Raises:
        ModelError: the first such site is named, with both shapes.
    """
    for name, node in nodes.items():
        value, event = node["value"], node["fn"].event_shape
        if not isinstance(value, Tensor):
            raise ModelError(f"site {name!r}: expected a tensor, found {type(value).__name__}")
        expected = levels.standing(name).batch
        num_particles, *sizes = expected
        batch = value.shape[: value.dim() - len(event)] if len(event) <= value.dim() else None
        if batch is None or value.shape[value.dim() - len(event) :] != event:
            raise ModelError(_found(name, value, event, num_particles, sizes))
        # One constant for all data, such as obs=torch.tensor(0.0), needs no batch of its own.
        if not (_is_batch(batch, expected) or (node["is_observed"] and not batch)):
            raise ModelError(_found(name, value, event, num_particles, sizes))
        if not _is_batch(node["fn"].batch_shape, expected):
            raise ModelError(
                f"site {name!r}: {type(node['fn']).__name__} has the batch shape "
                f"{list(node['fn'].batch_shape)} where "
                f"{_named(sizes)} = {[num_particles, *sizes]} was expected; is an .to_event() missing, or a "
                f".squeeze()?"
            )


def _is_batch(batch: torch.Size, expected: tuple[int, ...]) -> bool:
    """Compare a batch with K and the sizes of the plates; K may be missing, and what is 1 on the left too."""
    if batch == expected or batch == expected[1:]:
        return True
    num_particles, *sizes = expected
    own = list(batch)
    while len(own) < len(sizes) and sizes[len(sizes) - len(own) - 1] == 1:
        own.insert(0, 1)
    if len(own) < len(sizes):
        return False
    left = own[: len(own) - len(sizes)]
    return own[len(left) :] == sizes and left[-1:] in ([], [1], [num_particles]) and all(n == 1 for n in left[:-1])


def _named(sizes: list[int]) -> str:
    return "[K, N]" if len(sizes) == 1 else "[K, *plates]"


def _found(name: str, value: Tensor, event: torch.Size, num_particles: int, sizes: list[int]) -> str:
    expected = "[N, *event]" if len(sizes) == 1 else "[*plates, *event]"
    return (
        f"site {name!r}: values of shape {list(value.shape)} where {expected} = {[*sizes, *event]} was expected "
        f"(K = {num_particles}); is an .to_event() missing, or a dimension too many in the data?"
    )


def require_data_rows(num_data: int, x: object) -> None:
    """Refuse programs whose data plate is not as long as x: some data would count for nothing.

    Raises:
        ModelError: both lengths are named.
    """
    if isinstance(x, Tensor) and x.dim() and len(x) != num_data:
        raise ModelError(plate_refusal(num_data, len(x)))
