r"""Binary pixels, eight a symbol: those of one probability lie together.

A coder's work is by the symbol, and a pixel that is all but certain costs as much of it as any other. So the pixels
of a group are put into the order of their cells on the grid (``grid``), which the reader knows as well, and of
those of one cell each eight make one symbol, with the products of p and 1 - p as its 256 probabilities. What is
left of a cell, at most seven, follows pixel by pixel.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ppl_vae.compression.grid import PROBABILITY_TABLE, byte_probabilities
from ppl_vae.compression.stack import Stack, constriction

BYTE = 8
#: So few pixels are coded one by one: that costs less than to put them in order.
FEW = 1 << 15


def push_pixels(stack: Stack, bits: NDArray[np.uint8], cells: NDArray[np.int32]) -> None:
    """Push zeros and ones [n] whose probabilities have the cells [n]."""
    if len(cells) <= FEW:
        return stack.push_binary(bits.astype(np.int32), PROBABILITY_TABLE[cells])
    bits, _, starts = _in_order(bits, cells)
    for cell, first, last in _whole_bytes(starts):
        stack.push(np.packbits(bits[first:last]).astype(np.int32), _of_bytes(cell))
    left, cell_of = _left_over(starts)
    return stack.push_binary(bits[left].astype(np.int32), PROBABILITY_TABLE[cell_of])


def pop_pixels(stack: Stack, cells: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Pop the zeros and ones [n] of cells [n]."""
    if len(cells) <= FEW:
        return stack.pop_binary(PROBABILITY_TABLE[cells]).astype(np.uint8)
    _, order, starts = _in_order(np.zeros(len(cells), dtype=np.uint8), cells)
    bits = np.empty(len(cells), dtype=np.uint8)
    left, cell_of = _left_over(starts)
    bits[left] = stack.pop_binary(PROBABILITY_TABLE[cell_of])
    for cell, first, last in reversed(_whole_bytes(starts)):
        popped = stack.pop((last - first) // BYTE, _of_bytes(cell))
        bits[first:last] = np.unpackbits(popped.astype(np.uint8))
    found = np.empty_like(bits)
    found[order] = bits
    return found


def _in_order(
    bits: NDArray[np.uint8], cells: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Bits by their cells, where each had stood, and where each cell starts [cells + 1]."""
    from scipy.sparse import csc_array

    # A sort by counting, three times as fast as NumPy's and torch's: SciPy has it as a change of sparse layout.
    size = len(PROBABILITY_TABLE), len(cells)
    rows = csc_array((bits, cells, np.arange(len(cells) + 1, dtype=np.int32)), shape=size).tocsr()
    return rows.data, rows.indices, rows.indptr


def _whole_bytes(starts: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """List every cell with at least eight pixels: its number, and where its bytes begin and end."""
    counts = np.diff(starts) // BYTE
    cells = np.flatnonzero(counts)
    first = starts[cells]
    return list(zip(cells.tolist(), first.tolist(), (first + BYTE * counts[cells]).tolist(), strict=True))


def _left_over(starts: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of pixels that fill no byte, and their cells."""
    counts = np.diff(starts) % BYTE
    place = np.arange(BYTE) < counts[:, None]
    return ((starts[1:] - counts)[:, None] + np.arange(BYTE))[place], np.nonzero(place)[0]


@cache
def _of_bytes(cell: int) -> object:
    return constriction().stream.model.Categorical(byte_probabilities(cell), perfect=False)
