"""The precision that densities are computed in: single at least, with scales whose squares it can hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.errors import ModelError

HALF = (torch.bfloat16, torch.float16)
MOST_LOG_SCALE = 40.0


def widened(parameter: Tensor) -> Tensor:
    """A parameter of a density in single precision if it comes in half, else as it is.

    A sum of 784 log probabilities in bfloat16, which has 8 bits, is off by a nat.
    """
    return parameter.float() if parameter.dtype in HALF else parameter


def largest_whole(dtype: torch.dtype) -> int:
    """The number up to which every whole number is one of this dtype: 256 of bfloat16, 16,777,216 of float32."""
    return int(2 / torch.finfo(dtype).eps)


def fed(network: nn.Module, z: Tensor) -> Tensor:
    """What a network in half precision takes in the place of a draw of single precision; others take it as it is."""
    like = next(network.parameters(), None)
    return z if like is None or like.dtype not in HALF else z.to(like.dtype)


def require_single(name: str, parameter: Tensor) -> None:
    """Refuse a part whose density would be computed by networks in half precision.

    Raises:
        ModelError: the parameter is in half precision.
    """
    if parameter.dtype in HALF:
        raise ModelError(
            f"{name!r} computes its density by networks, in {str(parameter.dtype).removeprefix('torch.')} too "
            "coarsely to be reported: keep the model in float32"
        )


def scale(log_scale: Tensor) -> Tensor:
    """A standard deviation from its logarithm, which is kept within 40 of 0.

    So its square, exp(-80) to exp(80), is a normal number of single precision: beyond, a density would be wrong or
    not a number without a word.
    """
    return log_scale.clamp(-MOST_LOG_SCALE, MOST_LOG_SCALE).exp()


def positive_scale(h: Tensor) -> Tensor:
    """softplus(h) as a standard deviation, at least exp(-40) as that of ``scale``."""
    return softplus(h).clamp(min=math.exp(-MOST_LOG_SCALE))


def positive_variance(h: Tensor) -> Tensor:
    """softplus(h) as a variance, at least exp(-80)."""
    return softplus(h).clamp(min=math.exp(-2 * MOST_LOG_SCALE))
