"""Pixels come back in their own order, and eight in one symbol cost what they cost one by one."""

import numpy as np
import pytest

from ppl_vae.compression.grid import PROBABILITY_TABLE, byte_probabilities
from ppl_vae.compression.pixels import FEW, pop_pixels, push_pixels
from ppl_vae.compression.stack import Stack, pseudo_random

pytest.importorskip("constriction")


@pytest.fixture(scope="module")
def drawn():
    """Cells of which some have fewer than eight pixels, and bits with their probabilities."""
    rng = np.random.default_rng(0)
    cells = np.minimum(rng.geometric(0.03, size=5 * FEW) - 1, len(PROBABILITY_TABLE) - 1).astype(np.int32)
    return (rng.random(len(cells)) < PROBABILITY_TABLE[cells]).astype(np.uint8), cells


@pytest.mark.parametrize("count", [1, 7, FEW, FEW + 1, 5 * FEW])
def test_pixels_come_back_and_the_bits_below_them(drawn, count):
    bits, cells = (each[:count] for each in drawn)
    start = pseudo_random(50, 0)
    stack = Stack(start, True, len(start))
    push_pixels(stack, bits, cells)
    np.testing.assert_array_equal(pop_pixels(stack, cells), bits)
    np.testing.assert_array_equal(stack.unsealed(), start)


def test_the_length_is_that_of_the_probabilities(drawn):
    """Half a percent for probabilities that are multiples of 2^-24, and a word at the end."""
    bits, cells = drawn
    stack = Stack(pseudo_random(50, 0), True, 50)
    before = stack.num_bits
    push_pixels(stack, bits, cells)
    p = PROBABILITY_TABLE[cells]
    promised = -np.log2(np.where(bits == 1, p, 1 - p)).sum()
    assert stack.num_bits - before == pytest.approx(promised, rel=1e-3, abs=32)


def test_a_byte_is_eight_pixels_the_first_in_the_highest_bit():
    p = PROBABILITY_TABLE[100]
    products = byte_probabilities(100)
    assert products.sum() == pytest.approx(1, abs=1e-12)
    assert products[0b10000000] == pytest.approx(p * (1 - p) ** 7)
    assert products[0b11100001] == pytest.approx(p**4 * (1 - p) ** 4)
    # Unequal pixels tell the order: packbits and the table must have the same.
    assert np.packbits([1, 0, 0, 0, 0, 0, 0, 0])[0] == 0b10000000
