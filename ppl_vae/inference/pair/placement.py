"""The device and the dtype of a pair's parameters, to which data are moved."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import Rows
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace import owner


def beside(model: Program, x: object, guide: Program | None = None) -> Tensor:
    """Move x to the device of the pair's parameters, in their dtype; ``Rows`` stay rows that become dense later.

    Raises:
        DataError: x is no array of numbers (see ``ppl_vae.arrays``).
    """
    data = cast(Tensor, x) if isinstance(x, Rows) else to_tensor(x)
    like = parameter_of(model, guide)
    return data.to(data.device if like is None else like.device, own_dtype(model, guide, x))


def own_dtype(model: Program, guide: Program | None, x: object) -> torch.dtype:
    """The dtype that data take: of the pair's modules, else a tensor's own, else torch's default."""
    like = parameter_of(model, guide)
    if like is None and isinstance(x, Tensor) and x.is_floating_point():
        like = x
    return torch.get_default_dtype() if like is None else like.dtype


def parameter_of(*programs: Program | None) -> Tensor | None:
    """The first parameter of the modules that hold the programs' own; None where there are none."""
    owners = [m for m in map(owner, filter(None, programs)) if m is not None]
    return next((p for module in owners for p in module.parameters()), None)
