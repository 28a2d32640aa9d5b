r"""Distributions over arrays of code words: z = (e_k1, ..., e_kM), event shape [M, D], K^M values in all.

A code word is one of the rows of a codebook, so a distribution over z is one over indices k, and its densities are
masses:

    CodeWords      p(z) = p(k_1, ..., k_M)          from any distribution over indices
    NearestCode    q(z|x) all at the nearest codes of the encoder's outputs

The gradient of a draw of NearestCode is the straight-through one: dL/d(encoder output) = dL/dz, as if the
quantisation were not there (Bengio, Leonard & Courville 2013; van den Oord, Vinyals & Kavukcuoglu 2017). It is
biased: the true derivative of a deterministic choice among codes is zero almost everywhere.

Bengio, Léonard & Courville (2013): https://arxiv.org/abs/1308.3432
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints, register_kl

from ppl_vae.models.vector_quantised.child_codes import ChildCodes
from ppl_vae.models.vector_quantised.codebook import Codebook, nearest


class _CodeWord(constraints.Constraint):
    """Arrays whose rows are code words."""

    is_discrete = True
    event_dim = 2

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Mark the values that are arrays of code words."""
        return (self.codes[nearest(value, self.codes)] == value).flatten(-2).all(-1)


class CodeWords(dist.TorchDistribution):
    """Code words e_k of indices k that have a distribution of their own.

    Args:
        indices: over k, batch shape [*batch], event shape [M], integers.
        codes: [K, D], as they are now; they may be changed afterwards.
        find: gives the index of a code word, where not every code may stand in every cell; by default the nearest.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(
        self, indices: dist.TorchDistribution, codes: Tensor, find: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.indices, self.codes = indices, codes
        self.find = find or functools.partial(nearest, codes=codes)
        event_shape = torch.Size((*indices.event_shape, codes.shape[-1]))
        super().__init__(indices.batch_shape, event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Arrays of code words."""
        return _CodeWord(self.codes)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of z [*batch, M, D], nats; minus infinity where some row is no code word."""
        value = value.detach()
        k = self.find(value)
        is_word = (self.codes[k] == value).flatten(-2).all(-1)
        return torch.where(is_word, self.indices.log_prob(k), -torch.inf)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw code words [*sample_shape, *batch, M, D]."""
        return self.codes[self.indices.sample(torch.Size(sample_shape))]

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> CodeWords:
        """Repeat the distribution over a larger batch."""
        return CodeWords(self.indices.expand(torch.Size(batch_shape)), self.codes, self.find)


class NearestCode(dist.TorchDistribution):
    """A point mass at the nearest code of every encoder output.

    Args:
        encoded: encoder outputs [*batch, M, D].
        codebook: where the codes are.

    Attributes:
        indices: the nearest codes k [*batch, M], before broadcasting.
        code: e_k [*batch, M, D]; depends on the codes where they are parameters.
        is_point: what ``inference.pair.point_mass`` asks.
    """

    is_point = True
    arg_constraints = {}  # noqa: RUF012  (torch's protocol)
    has_rsample = True

    def __init__(self, encoded: Tensor, codebook: Codebook | ChildCodes) -> None:
        self.encoded, self.codebook = encoded, codebook
        self.indices = codebook.nearest(encoded)
        self.code = codebook(self.indices)
        super().__init__(encoded.shape[:-2], encoded.shape[-2:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Arrays of code words."""
        return _CodeWord(self.codebook.code.detach())

    @property
    def mean(self) -> Tensor:
        """The one value there is: [*batch, M, D]."""
        return self.code.detach().expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The value is zero: there is no spread."""
        return torch.zeros_like(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass: 0 at the nearest codes, minus infinity elsewhere."""
        is_nearest = (value.detach() == self.code.detach()).flatten(-2).all(-1)
        shape = torch.broadcast_shapes(is_nearest.shape, self.batch_shape)
        return torch.where(is_nearest, 0.0, -torch.inf).to(self.code.dtype).expand(shape)

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """The nearest codes, with the straight-through gradient."""
        straight_through = self.code.detach() + (self.encoded - self.encoded.detach())
        return straight_through.expand(torch.Size(sample_shape) + self.batch_shape + self.event_shape)

    def entropy(self) -> Tensor:
        """The value is zero: there is no spread."""
        return self.code.new_zeros(self.batch_shape)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> NearestCode:
        """Repeat the distribution over more data or particles."""
        wider = copy.copy(self)
        wider._batch_shape = torch.Size(batch_shape)
        return wider


@register_kl(NearestCode, CodeWords)
def _kl(q: NearestCode, p: CodeWords) -> Tensor:
    """The divergence -log p(k), since a one-hot q has no entropy."""
    return -p.indices.log_prob(q.indices)
