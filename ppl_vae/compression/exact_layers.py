r"""Wide linear layers in single precision that round nothing: sums of integers up to 2^24.

    y_j = a b sum_i k_i w_ij + bias_j,        sum_i |k_i| |w_ij| <= 2^24

Single precision is twice as fast as double, but what it rounds depends on the order of a sum, and differs too much
between machines for a guard band (``grid``). Integers up to 2^24 are exact in it, and so are their sums in any
order. So the weights are put on a grid of step b, and what they are multiplied by on one of step a, each a power of
two and as fine as that bound allows. Reader and writer see the same numbers, which need not be quite the model's:
a code that is drawn from a slightly other q, or pixels under a slightly other p, cost a little length and nothing
else. Numbers are multiplied by NumPy, which has no switch that lets single precision be less than it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ppl_vae.compression.grid import LOGIT, MOST_LOGIT

EXACT = 1 << 24
#: Of a logit: a head whose grids may move one by a larger standard deviation is computed in double precision.
MOST_NOISE = 1 / 32
#: Narrower layers cost little in double precision.
LEAST_WIDTH = 64


def whole_weights(weight: NDArray[np.float64], largest: int) -> tuple[NDArray[np.float32], float]:
    """Weights [O, I] as integers [I, O] times a step: sum_i |w_ij| times ``largest`` is at most 2^24.

    The step is the least power of two that allows it, found by sums of integers, so that all machines find the
    same.
    """
    bound = float(np.abs(weight).sum(1).max(initial=0.0)) * largest / EXACT
    # Two steps finer than the bound by itself says, so that its own rounding decides nothing.
    exponent = math.floor(math.log2(bound)) - 2 if bound else 0
    while True:
        whole = np.rint(weight * 2.0**-exponent)
        if np.abs(whole).sum(1).max(initial=0.0) * largest <= EXACT:
            return np.ascontiguousarray(whole.T, dtype=np.float32), 2.0**exponent
        exponent += 1


class BinaryLinear(nn.Module):
    """A linear layer that knows zeros and ones when it sees them.

    Args:
        of: the layer it stands for, whose parameters it has, under the same names.
    """

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias
        self._whole, step = whole_weights(of.weight.detach().numpy(), 1)
        self._step = np.float32(step)
        self._bias = np.float32(0) if of.bias is None else of.bias.detach().numpy().astype(np.float32)

    def forward(self, x: Tensor) -> Tensor:
        """The layer of x [N, I], double precision."""
        values = x.detach().numpy()
        bits = values.astype(np.float32, copy=False)
        if np.count_nonzero(bits) != np.count_nonzero(values == 1):
            return nn.functional.linear(x.double(), self.weight, self.bias)
        # One product, by a power of two, and one addition, which IEEE 754 rounds alike everywhere.
        sums = bits @ self._whole
        sums *= self._step
        sums += self._bias
        return torch.from_numpy(sums).double()


@dataclass(frozen=True)
class FeatureGrid:
    """The grid of the features that a head of logits is given.

    Attributes:
        reach_bits: features are cut off at plus and minus two to this.
        step_bits: steps per unit, as a power of two.
    """

    reach_bits: int
    step_bits: int

    @property
    def most(self) -> int:
        """The largest integer."""
        return 1 << max(0, self.reach_bits + self.step_bits)


class Head:
    """The cells of logits, of features on their grid.

    Args:
        linear: from features to logits.
        grid: of the features.
    """

    def __init__(self, linear: nn.Linear, grid: FeatureGrid) -> None:
        self.grid = grid
        self._whole, self._step = whole_weights(linear.weight.detach().numpy(), grid.most)
        bias = np.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().numpy()
        self._scale = np.float32(self._step * 2.0**-grid.step_bits * LOGIT)
        self._offset = (bias * LOGIT + MOST_LOGIT * LOGIT + 0.5).astype(np.float32)

    def steps(self, features: Tensor) -> NDArray[np.float64]:
        """Features [N, I] in steps, cut off; ``grid`` rounds them."""
        most = float(self.grid.most)
        steps = features.numpy() * 2.0**self.grid.step_bits
        return np.clip(steps, -most, most, out=steps)

    def cells(self, whole: NDArray[np.float64]) -> NDArray[np.int32]:
        """The cells of the logits [N, O] of features in whole steps, as of ``Grid.pixels``.

        Beside exact sums there is one product and one addition, which IEEE 754 rounds alike everywhere.
        """
        cells = whole.astype(np.float32) @ self._whole
        cells *= self._scale
        cells += self._offset
        return np.clip(cells, 0, 2 * MOST_LOGIT * LOGIT, out=cells).astype(np.int32)

    def noise(self, features: Tensor, weight: Tensor) -> float:
        """The largest standard deviation by which the two grids move a logit, errors of rounding being uniform."""
        step = 2.0**-self.grid.step_bits
        moved = weight.norm(dim=1).max().item() * step, features.norm(dim=1).max().item() * self._step
        return math.hypot(*moved) / math.sqrt(12)


def fitting_grid(linear: nn.Linear, features: Tensor) -> FeatureGrid | None:
    """The grid that moves logits least, for features like these [N, I]; None where double precision is better.

    The variance (|w|^2 a^2 + |h|^2 b^2) / 12 of a logit is least, at a given product of the steps a and b, where
    a / b = |h| / |w|.
    """
    weight, largest = linear.weight.detach(), features.abs().max().item()
    rows, columns = weight.norm(dim=1).max().item(), features.norm(dim=1).max().item()
    if min(linear.weight.shape) < LEAST_WIDTH or not rows or not columns:
        return None
    # Of features of other codes than these, half as much again.
    reach_bits = math.ceil(math.log2(1.5 * largest))
    product = weight.abs().sum(1).max().item() * 2.0**reach_bits / EXACT
    grid = FeatureGrid(reach_bits, math.floor(-0.5 * math.log2(product * columns / rows)))
    if grid.most >= EXACT or grid.reach_bits + grid.step_bits < 1:
        return None
    return grid if Head(linear, grid).noise(features, weight) <= MOST_NOISE else None
