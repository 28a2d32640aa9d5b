r"""Bits-back coding of binary images (Townsend, Bird & Barber 2019), and Bit-Swap for hierarchies.

    of a group of images:   pop z_1 ~ q(z_1|x),  push x ~ p(x|z_1),  pop z_2 ~ q(z_2|z_1),  push z_1 ~ p(z_1|z_2),
                            ...,  push z_L ~ N(0, I)

The bits that codes are popped from are made uniform before (``Stack.whiten``): without that the codes had not the
distribution q, and messages were 1.3% longer than promised on MNIST. The popped bits are a part of the message of
the images before, and come back on decoding, so that an image costs -log2 p(x, z) + log2 q(z|x) bits: minus its
ELBO on average. Codes are integers times a bin width on both sides, of which nothing remains in the length but the
bins' own coarseness. Whole groups go through the networks at once; the first groups are small, since their codes
are popped from the initial bits, and the others from what lies above these.

Townsend, Bird & Barber (2019): https://arxiv.org/abs/1901.04866; Kingma, Abbeel & Ho (2019), Bit-Swap:
https://arxiv.org/abs/1905.06845.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.compression.exact_layers import Head, HeadFormat, fitting_format
from ppl_vae.compression.grid import Grid
from ppl_vae.compression.latent_chain import Gaussian, LatentChain, latent_chain
from ppl_vae.compression.pixels import pop_pixels, push_pixels
from ppl_vae.compression.stack import WORD, Stack, constriction, pseudo_random
from ppl_vae.errors import DataError, ModelError

# A code's bins are chosen so that all but one in a hundred of the guide's scales have at least so many.
LEAST_BINS = 4.0
MOST_BIN_BITS = 14
GROUP = 512
# Of images that go through the encoder at once where no group asks for more: their features fit a core's cache.
BATCH = 256
# A group is at most this share of the images before it.
GROWTH = 0.5
# Bits that popping one coordinate of a code may take; no symbol is dearer than 24.
DEAREST = 24
# Of codes that are coded, in standard deviations beyond the largest mean.
MARGIN = 8.0
LEAST_RANGE = 8.0


@dataclass(frozen=True)
class Message:
    """The message of n images.

    Attributes:
        words: what lies on the stack above the untouched initial words [W], uint32.
        untouched: how many of the initial words were left as they were; they are in no file.
        initial_bits: bits popped before as many had been pushed, which the message costs beyond its length.
        net_bits: the length of the message, initial bits apart.
        num_images: n.
        group: the largest number of images that went through the networks at once.
        bin_bits: bins per unit of a code, as a power of two.
        half_range: codes lie between minus this and this.
        head: the formats of what the decoder's last layers are given (``exact_layers``); None where they are
            computed in double precision.
        uncertain: what the guard band held (``grid``).
    """

    words: NDArray[np.uint32]
    untouched: int
    initial_bits: int
    net_bits: int
    num_images: int
    group: int
    bin_bits: int
    half_range: int
    head: HeadFormat | None
    uncertain: dict[str, list[list[int]]]


@torch.no_grad()
def encode_images(vae: object, x: Tensor, group: int = GROUP, bin_bits: int | None = None) -> Message:
    """Encode binary images [N, *event_shape] by a VAE or a hierarchical one.

    Args:
        vae: with likelihood "bernoulli", the standard prior and diagonal Gaussian conditionals.
        x: zeros and ones.
        group: images that go through the networks at once.
        bin_bits: bins per unit of a code, as a power of two; chosen by the guide's scales where it is not given.

    Raises:
        ModelError: another model, a number out of range, or constriction is not installed.
        DataError: x is not binary or has another shape.
    """
    chain, group = latent_chain(vae), integer("group", group)
    data = _binary(chain, x)
    known, half_range, fitting = _known(chain, data)
    bin_bits = fitting if bin_bits is None else integer("bin_bits", bin_bits, least=0)
    if bin_bits > MOST_BIN_BITS:
        raise ModelError(f"bin_bits must be at most {MOST_BIN_BITS}, got {bin_bits}")
    linear = chain.head
    head = None if linear is None else fitting_format(linear, chain.arguments(known[0][:BATCH]), chain.activation)
    coder = _Coder(chain, bin_bits, half_range, head, Grid())
    start = pseudo_random(_words_of(chain, group), 0)
    stack = Stack(start, True, len(start))
    at_first = least = stack.num_bits
    for index, rows in enumerate(_groups(len(data), group)):
        stack.whiten(_words_of(chain, rows.stop - rows.start), index + 1)
        first = known[0][rows], known[1][rows]
        least = min(least, coder.push(stack, data[rows], first, str(index)))
    words = stack.words()
    same = words[: len(start)] == start[: len(words)]
    untouched = int(np.argmin(same)) if not same.all() else len(same)
    return Message(
        words[untouched:], untouched, at_first - least, stack.num_bits - at_first, len(data), group, coder.bin_bits,
        coder.half_range, head, coder.grid.uncertain,
    )  # fmt: skip


@torch.no_grad()
def decode_images(vae: object, message: Message) -> Tensor:
    """Decode the images of a message [N, *event_shape], float32.

    Raises:
        ModelError: another model, or constriction is not installed.
        DataError: the bits below the message are not those that it began with: it is of another model, damaged, or
            this machine's arithmetic is too unlike the writer's.
    """
    chain = latent_chain(vae)
    if message.head is not None and (chain.head is None or (message.head.arguments and chain.activation is None)):
        raise DataError("the message is of a decoder that ends in other layers than this one")
    coder = _Coder(chain, message.bin_bits, message.half_range, message.head, Grid(message.uncertain))
    start = pseudo_random(_words_of(chain, message.group), 0)
    stack = Stack(np.concatenate([start[: message.untouched], message.words]), False, len(start))
    images = torch.empty(message.num_images, *chain.vae.event_shape)
    dearest = len(start) + math.ceil(message.group * images[:1].numel() * DEAREST / WORD)
    for index, rows in reversed(list(enumerate(_groups(message.num_images, message.group)))):
        stack.hold(dearest)
        count = rows.stop - rows.start
        images[rows] = coder.pop(stack, count, str(index))
        stack.whiten(_words_of(chain, count), index + 1)
    try:
        intact = np.array_equal(stack.unsealed(), start)
    except (AssertionError, ValueError):
        intact = False
    if not intact:
        raise DataError("the message does not end in the bits that it began with: another model, or damaged")
    return images


class _Coder:
    """Pushes and pops groups of images, with the bins and the grid of one message."""

    def __init__(
        self, chain: LatentChain, bin_bits: int, half_range: int, head: HeadFormat | None, grid: Grid
    ) -> None:
        self.chain, self.bin_bits, self.half_range, self.grid = chain, bin_bits, half_range, grid
        linear = chain.head
        self.head = None if head is None or linear is None else Head(linear, head, chain.activation, grid)
        self.width = 2.0**-bin_bits
        self.most = half_range << bin_bits
        # Of N(0, I) in bins.
        self._top = constriction().stream.model.QuantizedGaussian(-self.most, self.most, 0.0, 1 / self.width)

    def push(self, stack: Stack, x: Tensor, first: Gaussian, place: str) -> int:
        """Push a group of images whose q(z_1|x) is ``first``; return the fewest bits that lay there meanwhile."""
        below, code, least = x, None, stack.num_bits
        for level in range(len(self.chain.dims)):
            q = first if level == 0 else self.chain.posterior(level, below)
            above = stack.pop_near(*self.grid.gaussian(*q, self.width, f"{place} q{level}"), self.most)
            least = min(least, stack.num_bits)
            z = self._value(above)
            if code is None:
                push_pixels(stack, x.numpy().ravel().astype(np.uint8), self._pixels(z, place))
            else:
                stack.push_gaussian(code, *self._p(level - 1, z, place), self.most)
            below, code = z, above
        assert code is not None
        stack.push(code.ravel(), self._top)
        return least

    def pop(self, stack: Stack, count: int, place: str) -> Tensor:
        """Pop a group of images, the steps of ``push`` backwards."""
        top = len(self.chain.dims) - 1
        size = count, self.chain.dims[top]
        code = stack.pop(math.prod(size), self._top).reshape(size)
        for level in range(top, 0, -1):
            below = stack.pop_gaussian(*self._p(level - 1, self._value(code), place), self.most)
            stack.push_near(code, *self._q(level, self._value(below), place), self.most)
            code = below
        pixels = pop_pixels(stack, self._pixels(self._value(code), place))
        x = torch.from_numpy(pixels).float().reshape(count, *self.chain.vae.event_shape)
        stack.push_near(code, *self._q(0, x, place), self.most)
        return x

    def _value(self, code: NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(code * self.width)

    def _pixels(self, z: Tensor, place: str) -> NDArray[np.int32]:
        """The cells of all pixels' probabilities."""
        if self.head is None:
            return self.grid.pixels(self.chain.logits(z), place)
        return self.head.cells(self.chain.arguments(z), place).ravel()

    def _q(self, level: int, below: Tensor, place: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.grid.gaussian(*self.chain.posterior(level, below), self.width, f"{place} q{level}")

    def _p(self, level: int, above: Tensor, place: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.grid.gaussian(*self.chain.prior(level, above), self.width, f"{place} p{level}")


def _groups(num_images: int, group: int) -> list[slice]:
    slices, first = [], 0
    while first < num_images:
        size = min(group, max(1, int(GROWTH * first)), num_images - first)
        slices.append(slice(first, first + size))
        first += size
    return slices


def _words_of(chain: LatentChain, count: int) -> int:
    """More words than popping the codes of so many images can take."""
    return math.ceil(count * sum(chain.dims) * DEAREST / WORD) + 2


def _binary(chain: LatentChain, x: Tensor) -> Tensor:
    """The data in single precision, and the model's own words where they are not binary or of another shape."""
    data = x.detach().cpu().float()
    if not len(data):
        raise DataError(f"data are empty: shape {list(data.shape)}")
    values = data.numpy()
    if data.shape[1:] != chain.vae.event_shape or np.count_nonzero(values) != np.count_nonzero(values == 1):
        chain.vae.model.check_data(x)
    return data


def _known(chain: LatentChain, x: Tensor) -> tuple[Gaussian, int, int]:
    """The q(z_1|x) of all data [N, L_1], a number that codes do not pass, and bins that fit the guide's scales."""
    largest, smallest, first = LEAST_RANGE, 1.0, []
    for below in x.split(BATCH):
        for level in range(len(chain.dims)):
            below, scale = chain.posterior(level, below)
            largest = max(largest, (below.abs() + MARGIN * scale).max().item())
            smallest = min(smallest, scale.flatten().kthvalue(math.ceil(0.01 * scale.numel())).values.item())
            if level == 0:
                first.append((below, scale))
    means, scales = zip(*first, strict=True)
    bin_bits = min(MOST_BIN_BITS, max(0, math.ceil(math.log2(LEAST_BINS / smallest))))
    return (torch.cat(means), torch.cat(scales)), math.ceil(largest), bin_bits
