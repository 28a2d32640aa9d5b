r"""Numbers in fixed point, and elementwise functions of them as tables.

    x = k 2^-s,        |k| <= 2^(r + s)

A function of one such number has finitely many values, which are computed once: looking softplus up takes a fifth
of the time of computing it in double precision. Reader and writer look up the same, so that a coarse step costs a
little length and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# A table of double precision of so many entries fits a core's own cache.
TABLE_BITS = 14
# Layers that work number by number, without parameters.
ELEMENTWISE = (nn.Softplus, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SiLU, nn.GELU)
#: The steepest of them, GELU.
STEEPEST = 1.13


@dataclass(frozen=True)
class FixedPoint:
    """A format of numbers.

    Attributes:
        reach_bits: numbers are cut off at plus and minus two to this.
        step_bits: steps per unit, as a power of two.
    """

    reach_bits: int
    step_bits: int

    @property
    def most(self) -> int:
        """The largest integer."""
        return 1 << max(0, self.reach_bits + self.step_bits)

    @property
    def step(self) -> float:
        """From one number to the next."""
        return 2.0**-self.step_bits

    def steps(self, values: Tensor) -> NDArray[np.float64]:
        """Values in steps, cut off and not yet rounded."""
        steps = values.numpy() * 2.0**self.step_bits
        return np.clip(steps, -self.most, self.most, out=steps)


def table_format(largest: float, most_step_bits: int = TABLE_BITS) -> FixedPoint:
    """The finest format of a table whose numbers reach to ``largest``.

    Args:
        largest: of the numbers.
        most_step_bits: no finer than this.
    """
    reach_bits = math.ceil(math.log2(largest)) if largest > 0 else 0
    return FixedPoint(reach_bits, min(TABLE_BITS - 1 - reach_bits, most_step_bits))


def table(activation: nn.Module, of: FixedPoint) -> Tensor:
    """An elementwise layer's values, double precision, at all numbers of a format from the least up."""
    return activation(torch.arange(-of.most, of.most + 1, dtype=torch.float64) * of.step)


def look_up(values: Tensor, whole: NDArray[np.floating], of: FixedPoint) -> Tensor:
    """Look numbers in whole steps, which are changed, up in a table: in their shape."""
    whole += of.most
    places = torch.from_numpy(whole.astype(np.int32))
    return values.index_select(0, places.view(-1)).view(places.shape)
