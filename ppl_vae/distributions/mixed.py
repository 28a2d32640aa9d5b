r"""Independent coordinates of different kinds: each block of them has a distribution of its own.

    log p(x) = sum over blocks B of sum over observed d in B of log p_B,d(x_d)

The sum is one over densities (in units of their coordinates) and masses. A coordinate that is NaN is missing and
integrated out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.censored_normal import CensoredNormal
from ppl_vae.distributions.log_normal import LogNormal
from ppl_vae.distributions.student_t import StudentT


@dataclass(frozen=True)
class Block:
    """Some coordinates, with a distribution for each.

    Attributes:
        index: which they are [M].
        base: their distributions, [*batch, M], one coordinate an event.
        inside: a value of their support, which stands in for a missing one.
    """

    index: Tensor
    base: dist.TorchDistribution
    inside: float


class OfBlocks(constraints.Constraint):
    """The constraint that each block's values are in its own support.

    Args:
        blocks: of all coordinates.
    """

    event_dim = 1

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self.supports = [_support(block) for block in blocks]
        self.is_discrete = any(support.is_discrete for support in self.supports)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Mark the data of which each coordinate is in its support."""
        parts = [
            support.check(value[..., block.index]).all(-1)
            for support, block in zip(self.supports, self.blocks, strict=True)
        ]
        return torch.stack(parts).all(0)


class MixedBlocks(dist.TorchDistribution):
    """A row whose coordinates are independent, in blocks of different kinds.

    Args:
        blocks: every coordinate is in one of them.
        width: D, how many coordinates there are.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(self, blocks: Sequence[Block], width: int) -> None:
        self.blocks = tuple(blocks)
        batch = torch.broadcast_shapes(*(block.base.batch_shape[:-1] for block in blocks))
        super().__init__(batch, torch.Size((width,)), validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The supports of all coordinates."""
        return OfBlocks(self.blocks)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the observed coordinates, nats; 0 where all are missing."""
        total: Tensor | None = None
        for block in self.blocks:
            x = value.index_select(-1, block.index)
            missing = x.isnan()
            # The stand-in is there on both sides of the density, so that no NaN reaches a gradient.
            each = block.base.log_prob(torch.where(missing, block.inside, x).to(x.dtype))
            part = torch.where(missing, 0.0, each).double().sum(-1)
            total = part if total is None else total + part
        assert total is not None
        return total.to(value.dtype)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw complete rows."""
        return self._joined([block.base.sample(torch.Size(sample_shape)) for block in self.blocks])

    @property
    def mean(self) -> Tensor:
        """The mean of every coordinate; of an ordered level that of its code."""
        return self._joined([block.base.mean for block in self.blocks])

    @property
    def variance(self) -> Tensor:
        """The variance of every coordinate."""
        return self._joined([block.base.variance for block in self.blocks])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """The coordinates of all blocks in their order."""
        order = torch.cat([block.index for block in self.blocks]).argsort()
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        dtype = min((part.dtype for part in parts), key=lambda each: torch.finfo(each).bits)
        whole = torch.cat([part.expand(*shape, -1).to(dtype) for part in parts], -1)
        return whole.index_select(-1, order)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> MixedBlocks:
        """Repeat the distribution over a larger batch."""
        blocks = [
            Block(block.index, block.base.expand((*batch_shape, len(block.index))), block.inside)
            for block in self.blocks
        ]
        return MixedBlocks(blocks, self.event_shape[0])


def _support(block: Block) -> constraints.Constraint:
    support = block.base.support
    assert support is not None
    return support


def in_units(base: dist.TorchDistribution, loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    r"""The distribution of loc + scale y for y of ``base``, a density of the values in their own units.

    So log p(x) = log p_base((x - loc) / scale) - log scale: the Jacobian is in it. A log-normal moves in log x. All
    is in double precision, where loc + scale y keeps the digits that a large loc would take in single precision.

    Args:
        base: a Gaussian, censored or not, a Student-t or a log-normal, [*batch, M].
        loc: [M].
        scale: positive [M].
    """
    if isinstance(base, CensoredNormal):
        where, spread = _moved(base.loc, base.scale, loc, scale)
        return CensoredNormal(where, spread, base.low, base.high)
    if isinstance(base, StudentT):
        return StudentT(base.freedom, *_moved(base.loc, base.scale, loc, scale))
    if isinstance(base, LogNormal):
        return LogNormal(*_moved(base.loc, base.scale, loc, scale))
    assert isinstance(base, dist.Normal), f"{type(base).__name__} has no location and scale"
    return dist.Normal(*_moved(base.loc, base.scale, loc, scale))


def _moved(own: Tensor, spread: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return loc.double() + scale.double() * own.double(), scale.double() * spread.double()
