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

from ppl_vae.compression.fixed_point import STEEPEST, FixedPoint, look_up, table, table_format
from ppl_vae.compression.grid import LOGIT, MOST_LOGIT, TABLE_GUARD, Grid

EXACT = 1 << 24
#: Of a logit: a head whose grids may move one by a larger standard deviation is computed in double precision.
MOST_NOISE = 1 / 32
#: Narrower layers cost little in double precision.
LEAST_WIDTH = 64
# Bits that are looked up together, and how many multiplications take the time of one sum that is looked up.
NIBBLE, LOOK_UP = 4, 6
# Steps per unit, as a power of two, below which a table is too coarse for a guide.
LEAST_STEP_BITS = 6


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


class BitSums:
    """Sums of the rows of integers [I, O] where zeros and ones have a one.

    Images are mostly empty: the sums of all 16 choices of four rows are made once, and those of empty fours are
    none.

    Args:
        whole: the integers, whose sums are exact in single precision.
    """

    def __init__(self, whole: NDArray[np.float32]) -> None:
        self._whole = whole
        padded = np.pad(whole, ((0, -len(whole) % NIBBLE), (0, 0))).reshape(-1, 1, NIBBLE, whole.shape[1])
        # The first of four has the highest bit, as in np.packbits.
        chosen = np.arange(1 << NIBBLE)[:, None] >> np.arange(NIBBLE - 1, -1, -1) & 1
        sums = sum(padded[:, :, row] * chosen[:, row, None].astype(np.float32) for row in range(NIBBLE))
        self._sums = torch.from_numpy(np.asarray(sums).reshape(-1, whole.shape[1]))

    def __call__(self, bits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sums [N, O] of zeros and ones [N, I]."""
        packed = np.packbits(bits.astype(np.uint8), axis=1)
        fours = np.stack([packed >> NIBBLE, packed & 15], -1).reshape(len(bits), -1)
        rows, places = np.nonzero(fours)
        if LOOK_UP * len(rows) > bits.size:
            return bits @ self._whole
        index = torch.from_numpy((places << NIBBLE) + fours[rows, places])
        first = torch.from_numpy(np.searchsorted(rows, np.arange(len(bits))))
        return nn.functional.embedding_bag(index, self._sums, first, mode="sum").numpy()


class BinaryLinear(nn.Module):
    """A linear layer, with the elementwise one behind it, that knows zeros and ones when it sees them.

    Args:
        of: the layer it stands for, whose parameters it has, under the same names.
        activation: the one behind it; its values are looked up where the sums of zeros and ones allow it.
    """

    def __init__(self, of: nn.Linear, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias
        self._activation = nn.Identity() if activation is None else activation
        weight = of.weight.detach().numpy()
        whole, step = whole_weights(weight, 1)
        self._sums, self._step = BitSums(whole), np.float32(step)
        bias = np.zeros(len(weight)) if of.bias is None else of.bias.detach().numpy()
        self._bias = bias.astype(np.float32)
        # No sum is larger: half as much again is more than all that is rounded.
        self._format = table_format(1.5 * float((np.abs(weight).sum(1) + np.abs(bias)).max()))
        tabled = activation is not None and self._format.step_bits >= LEAST_STEP_BITS
        self._table = table(self._activation, self._format) if tabled else None

    def forward(self, x: Tensor) -> Tensor:
        """The layer of x [N, I], double precision."""
        values = x.detach().numpy()
        bits = values.astype(np.float32, copy=False)
        if np.count_nonzero(bits) != np.count_nonzero(values == 1):
            return self._activation(nn.functional.linear(x.double(), self.weight, self.bias))
        # One product, by a power of two, and one addition, which IEEE 754 rounds alike everywhere.
        sums = self._sums(bits)
        sums *= self._step
        sums += self._bias
        if self._table is None:
            return self._activation(torch.from_numpy(sums).double())
        sums *= np.float32(1 / self._format.step)
        return look_up(self._table, np.rint(sums, out=sums), self._format)


@dataclass(frozen=True)
class HeadFormat:
    """The formats of what goes into a head of logits.

    Attributes:
        features: of what its weights are multiplied by.
        arguments: of what the elementwise layer before it is given, which is a table; None where there is none.
    """

    features: FixedPoint
    arguments: FixedPoint | None


class Head:
    """The cells of logits, of features in fixed point.

    Args:
        linear: from features to logits.
        form: of the features and of their arguments.
        activation: the elementwise layer before it, if there is one.
        grid: what numbers are rounded by.
    """

    def __init__(self, linear: nn.Linear, form: HeadFormat, activation: nn.Module | None, grid: Grid) -> None:
        self.form, self._activation, self._grid = form, activation or nn.Identity(), grid
        features = form.features
        self._whole, weight_step = whole_weights(linear.weight.detach().numpy(), features.most)
        bias = np.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().numpy()
        self._scale = np.float32(weight_step * features.step * LOGIT)
        self._offset = (bias * LOGIT + MOST_LOGIT * LOGIT + 0.5).astype(np.float32)
        self._table = torch.empty(0)
        if form.arguments is not None:
            steps = grid.cells(features.steps(table(self._activation, form.arguments)), "table", TABLE_GUARD)
            self._table = torch.from_numpy(steps.astype(np.float32))

    def cells(self, arguments: Tensor, place: str) -> NDArray[np.int32]:
        """The cells of the logits [N, O], as of ``Grid.pixels``; reader and writer name the place of a call alike.

        Beside exact sums there is one product and one addition, which IEEE 754 rounds alike everywhere.
        """
        cells = self._features(arguments, f"{place} h") @ self._whole
        cells *= self._scale
        cells += self._offset
        return np.clip(cells, 0, 2 * MOST_LOGIT * LOGIT, out=cells).astype(np.int32)

    def _features(self, arguments: Tensor, place: str) -> NDArray[np.float32]:
        looked_up = self.form.arguments
        if looked_up is not None:
            whole = self._grid.cells(looked_up.steps(arguments), place)
            return look_up(self._table, whole, looked_up).numpy()
        steps = self.form.features.steps(self._activation(arguments))
        return self._grid.cells(steps, place).astype(np.float32)


def noise(linear: nn.Linear, form: HeadFormat, features: Tensor) -> float:
    """The largest standard deviation by which the grids move a logit, errors of rounding being uniform."""
    weight = linear.weight.detach()
    weight_step = whole_weights(weight.numpy(), form.features.most)[1]
    rows, columns = weight.norm(dim=1).max().item(), features.norm(dim=1).max().item()
    looked_up = 0.0 if form.arguments is None else STEEPEST * form.arguments.step
    return math.hypot(rows * form.features.step, rows * looked_up, columns * weight_step) / math.sqrt(12)


def fitting_format(linear: nn.Linear, arguments: Tensor, activation: nn.Module | None) -> HeadFormat | None:
    """The format that moves logits least, for arguments like these [N, I]; None where double precision is better.

    Args:
        linear: the head.
        arguments: of the elementwise layer before it, or its features where there is none.
        activation: that layer.
    """
    features = arguments if activation is None else activation(arguments)
    fixed = _fitting_features(linear, features)
    if fixed is None:
        return None
    # Of other codes than these, half as much again. No finer than features, so that where the layer changes nothing
    # its values lie in no guard band.
    largest = 1.5 * arguments.abs().max().item()
    looked_up = None if activation is None else table_format(largest, fixed.step_bits)
    forms = HeadFormat(fixed, looked_up), HeadFormat(fixed, None)
    return next((form for form in forms if noise(linear, form, features) <= MOST_NOISE), None)


def _fitting_features(linear: nn.Linear, features: Tensor) -> FixedPoint | None:
    """The format of features.

    The variance (|w|^2 a^2 + |h|^2 b^2) / 12 of a logit is least, at a given product of the steps a and b, where
    a / b = |h| / |w|.
    """
    weight, largest = linear.weight.detach(), features.abs().max().item()
    rows, columns = weight.norm(dim=1).max().item(), features.norm(dim=1).max().item()
    if min(linear.weight.shape) < LEAST_WIDTH or not rows or not columns:
        return None
    # Of other codes than these, half as much again.
    reach_bits = math.ceil(math.log2(1.5 * largest))
    product = weight.abs().sum(1).max().item() * 2.0**reach_bits / EXACT
    fixed = FixedPoint(reach_bits, math.floor(-0.5 * math.log2(product * columns / rows)))
    return None if fixed.most >= EXACT or fixed.reach_bits + fixed.step_bits < 1 else fixed
