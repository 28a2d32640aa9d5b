"""The batch and the event of every site, compared with [K, N] itself.

torch broadcasts whatever fits: data [N, 1] under a scalar site per datum become [N, N], and where there happen
to be N particles the sum looks like one of [K, N]. So shapes are compared with what they must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppl_vae.errors import ModelError


def require_shapes(nodes: Mapping[str, Any], num_particles: int, num_data: int) -> None:
    """Refuse sites whose batch is not [K, N], [1, N] or [N].

    Args:
        nodes: trace nodes of sample sites, all in the data plate.
        num_particles: K.
        num_data: N.

    Raises:
        ModelError: the first such site is named, with both shapes.
    """
    for name, node in nodes.items():
        value, event = node["value"], node["fn"].event_shape
        if not isinstance(value, Tensor):
            raise ModelError(f"site {name!r}: expected a tensor, found {type(value).__name__}")
        batch = value.shape[: value.dim() - len(event)] if len(event) <= value.dim() else None
        if batch is None or value.shape[value.dim() - len(event) :] != event:
            raise ModelError(_found(name, value, event, num_particles, num_data))
        # One constant for all data, such as obs=torch.tensor(0.0), needs no batch of its own.
        if not (_is_batch(batch, num_particles, num_data) or (node["is_observed"] and not batch)):
            raise ModelError(_found(name, value, event, num_particles, num_data))
        if not _is_batch(node["fn"].batch_shape, num_particles, num_data):
            raise ModelError(
                f"site {name!r}: {type(node['fn']).__name__} has the batch shape "
                f"{list(node['fn'].batch_shape)} where "
                f"[K, N] = {[num_particles, num_data]} was expected; is an .to_event() missing, or a .squeeze()?"
            )


def _is_batch(batch: torch.Size, num_particles: int, num_data: int) -> bool:
    *left, last = batch or (0,)
    return last == num_data and left[-1:] in ([], [1], [num_particles]) and all(size == 1 for size in left[:-1])


def _found(name: str, value: Tensor, event: torch.Size, num_particles: int, num_data: int) -> str:
    return (
        f"site {name!r}: values of shape {list(value.shape)} where [N, *event] = {[num_data, *event]} was expected "
        f"(K = {num_particles}); is an .to_event() missing, or a dimension too many in the data?"
    )


def require_data_rows(num_data: int, x: Any) -> None:
    """Refuse programs whose data plate is not as long as x: some data would count for nothing.

    Raises:
        ModelError: both lengths are named.
    """
    if isinstance(x, Tensor) and x.dim() and len(x) != num_data:
        raise ModelError(plate_refusal(num_data, len(x)))


def plate_refusal(taken: int, given: int) -> str:
    """Why a plate of another length than the data cannot be judged."""
    if taken > given:
        return (
            f"the data plate takes {taken} of {given} data: its length, and what is observed in it, must come from "
            "x, as in pyro.plate('data', len(x))"
        )
    return (
        f"the data plate takes {taken} of {given} data, and a mean over data counts every datum once: remove "
        "the subsampling and let fit make the batches (data in the first dimension of x)"
    )
