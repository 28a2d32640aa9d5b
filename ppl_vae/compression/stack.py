"""The stack of bits: a coder of constriction by asymmetric numeral systems (Duda 2009).

What is pushed last is popped first, and popping a symbol from bits that mean nothing draws it from its
distribution: this is what bits-back coding rests on (Townsend, Bird & Barber 2019,
https://arxiv.org/abs/1901.04866).
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ppl_vae.extras import imported

WORD, STATE = 32, 2
REACH = 7.0
# Of the words that lie at the bottom of every stack; both sides draw them anew.
_SEED = 20190115


def constriction() -> ModuleType:
    """The library of coders, which is an extra of this package.

    Raises:
        ModelError: it cannot be imported.
    """
    return imported("constriction", "compression", "'ppl_vae[compression]'")


def pseudo_random(count: int, key: int) -> NDArray[np.uint32]:
    """Pseudo-random words [count], the same on every machine; key 0 is that of the initial words."""
    raw = np.random.Philox(key=_SEED + key).random_raw(count)
    return np.asarray(raw >> np.uint64(WORD), dtype=np.uint32)


class Stack:
    """The coder, with the pushes and pops of the two families that are needed; arrays are pushed as a whole.

    Only the top lies in the coder, and the rest below it in pieces, so that ``whiten`` costs what it changes.

    Args:
        words: what lies on the stack [W], uint32.
        seal: whether the words are arbitrary ones, and not those of another stack.
        floor: words at the bottom that are never whitened.
    """

    def __init__(self, words: NDArray[np.uint32], seal: bool, floor: int) -> None:
        self._stream = constriction().stream
        self._models = self._stream.model
        self._coder = self._stream.stack.AnsCoder(words, seal)
        self._below: list[NDArray[np.uint32]] = []
        self._floor = floor

    @property
    def num_bits(self) -> int:
        """How many bits lie on the stack."""
        return WORD * sum(map(len, self._below)) + int(self._coder.num_valid_bits())

    def words(self) -> NDArray[np.uint32]:
        """All words on the stack."""
        return np.concatenate([*self._below, self._top()])

    def unsealed(self) -> NDArray[np.uint32]:
        """The arbitrary words that the stack was started with, if it is back there.

        Raises:
            AssertionError: it is not.
        """
        coder = self._stream.stack.AnsCoder(self.words(), False)
        return np.asarray(coder.get_compressed(True), dtype=np.uint32)

    def hold(self, count: int) -> None:
        """Have the top ``count`` words in the coder, or all there are, and the rest below it."""
        top = self._top()
        while len(top) < count and self._below:
            top = np.concatenate([self._below.pop(), top])
        self._restart(top, count)

    def whiten(self, count: int, key: int) -> None:
        """Exchange the top ``count`` words for others, and the same again back: x XOR pad.

        What was pushed under a distribution that it does not have leaves bits that are not uniform, and codes
        popped from them would not have theirs. The pad is pseudo-random, so that the words are uniform whatever
        they were. The two topmost words, the coder's own state, stay.
        """
        self.hold(count + STATE)
        top = self._top()
        first = max(0, len(top) - STATE - count, self._floor - sum(map(len, self._below)))
        if first < len(top) - STATE:
            top[first : len(top) - STATE] ^= pseudo_random(len(top) - STATE - first, key)
            self._restart(top, count + STATE)

    def _top(self) -> NDArray[np.uint32]:
        return np.array(self._coder.get_compressed(), dtype=np.uint32)

    def _restart(self, top: NDArray[np.uint32], count: int) -> None:
        if len(top) > count:
            self._below.append(top[: len(top) - count])
            top = top[len(top) - count :]
        self._coder = self._stream.stack.AnsCoder(top, False)

    def push(self, symbols: NDArray[np.int32], model: object) -> None:
        """Push symbols that have one distribution, a model of constriction's."""
        self._coder.encode_reverse(symbols, model)

    def pop(self, count: int, model: object) -> NDArray[np.int32]:
        """Pop so many symbols of one distribution."""
        return np.asarray(self._coder.decode(model, count))

    def push_binary(self, symbols: NDArray[np.int32], p: NDArray[np.float64]) -> None:
        """Push zeros and ones with probabilities p of a one."""
        self._coder.encode_reverse(symbols.ravel(), self._models.Bernoulli(perfect=False), p.ravel())

    def pop_binary(self, p: NDArray[np.float64]) -> NDArray[np.int32]:
        """Pop as many zeros and ones as there are probabilities, in their shape."""
        return np.asarray(self._coder.decode(self._models.Bernoulli(perfect=False), p.ravel())).reshape(p.shape)

    def push_gaussian(
        self, symbols: NDArray[np.int32], mean: NDArray[np.float64], std: NDArray[np.float64], most: int
    ) -> None:
        """Push integers between -most and most, Gaussian with unit bins."""
        family = self._models.QuantizedGaussian(-most, most)
        self._coder.encode_reverse(symbols.ravel(), family, mean.ravel(), std.ravel())

    def pop_gaussian(self, mean: NDArray[np.float64], std: NDArray[np.float64], most: int) -> NDArray[np.int32]:
        """Pop integers in the shape of the means."""
        family = self._models.QuantizedGaussian(-most, most)
        return np.asarray(self._coder.decode(family, mean.ravel(), std.ravel())).reshape(mean.shape)

    def push_near(
        self, symbols: NDArray[np.int32], mean: NDArray[np.float64], std: NDArray[np.float64], most: int
    ) -> None:
        """Push integers that ``pop_near`` gave."""
        centre, reach = _near(mean, std, most)
        self.push_gaussian(symbols - centre, mean - centre, std, reach)

    def pop_near(self, mean: NDArray[np.float64], std: NDArray[np.float64], most: int) -> NDArray[np.int32]:
        """Pop integers within seven of the largest standard deviations of their means.

        The coder gives every symbol at least 2^-24: over a long range far symbols would be drawn that nobody meant,
        at hundreds of bits each.
        """
        centre, reach = _near(mean, std, most)
        return self.pop_gaussian(mean - centre, std, reach) + centre


def _near(mean: NDArray[np.float64], std: NDArray[np.float64], most: int) -> tuple[NDArray[np.int32], int]:
    """The integer next to each mean, moved so that all within reach of it is within ``most``; and the reach."""
    reach = min(most, math.ceil(REACH * float(std.max())))
    return np.clip(np.round(mean), reach - most, most - reach).astype(np.int32), reach
