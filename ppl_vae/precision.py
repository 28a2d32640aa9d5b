"""The precision that densities are computed in: single at least, with scales whose squares it can hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.errors import ModelError

HALF = (torch.bfloat16, torch.float16)
MOST_LOG_SCALE = {torch.float64: 40.0}


def widened(parameter: Tensor) -> Tensor:
    """Widen a parameter of a density from half to single precision; others are unchanged.

    A sum of 784 log probabilities in bfloat16, which has 8 bits, is off by a nat.
    """
    return parameter.float() if parameter.dtype in HALF else parameter


def largest_whole(dtype: torch.dtype) -> int:
    """The number up to which every whole number is one of this dtype: 256 of bfloat16, 16,777,216 of float32."""
    return int(2 / torch.finfo(dtype).eps)


def fed(network: nn.Module, z: Tensor) -> Tensor:
    """Cast a draw of single precision for a network in half precision; others take z unchanged."""
    like = next(network.parameters(), None)
    return z if like is None or like.dtype not in HALF else z.to(like.dtype)


def require_single(name: str, parameter: Tensor) -> None:
    """Refuse a part whose density would be computed by networks in half precision.

    Raises:
        ModelError: the parameter is in half precision.
    """
    if parameter.dtype in HALF:
        raise ModelError(
            f"{name!r} computes its density by networks; {str(parameter.dtype).removeprefix('torch.')} "
            "rounds too coarsely: keep the model in float32"
        )


def scale(log_scale: Tensor) -> Tensor:
    """The standard deviation of a logarithm, which is kept within 20 of 0 (40 in double precision).

    So its square is a number that densities and their gradients can divide by twice. Beyond, they would be wrong or
    not numbers without a word.
    """
    most = _most_log_scale(log_scale)
    return log_scale.clamp(-most, most).exp()


def positive_scale(h: Tensor) -> Tensor:
    """The standard deviation softplus(h), with the least one of ``scale``."""
    return softplus(h).clamp(min=math.exp(-_most_log_scale(h)))


def positive_variance(h: Tensor) -> Tensor:
    """The variance softplus(h), at least the square of the least standard deviation of ``scale``."""
    return softplus(h).clamp(min=math.exp(-2 * _most_log_scale(h)))


def _most_log_scale(like: Tensor) -> float:
    return MOST_LOG_SCALE.get(like.dtype, 20.0)
