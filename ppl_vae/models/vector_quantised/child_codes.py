"""Codes in a tree: each code of a level has children of its own at the next, among which alone is searched."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.models.vector_quantised.codebook import Codebook


class ChildCodes:
    """The part of a codebook that a vector may be quantised to: the children of its parent code.

    Args:
        codebook: of a level, parent-major: code p C + j is child j of parent p.
        parent: the parents' indices [*batch, M]; None at the first level, where every code is allowed.
        num_children: C.
    """

    def __init__(self, codebook: Codebook, parent: Tensor | None, num_children: int) -> None:
        self.codebook, self.parent, self.num_children = codebook, parent, num_children

    @property
    def code(self) -> Tensor:
        """All codes of the level."""
        return self.codebook.code

    def nearest(self, z: Tensor) -> Tensor:
        """The nearest allowed code of vectors [*batch, M, D]: [*batch, M], integers."""
        if self.parent is None:
            return self.codebook.nearest(z)
        return nearest_child(z.detach(), self.code.detach(), self.parent, self.num_children)

    def __call__(self, k: Tensor) -> Tensor:
        """The codes of indices [*batch]: [*batch, D]."""
        found: Tensor = self.codebook(k)
        return found

    def follow(self, z: Tensor, k: Tensor) -> None:
        """Let the codes follow the vectors that they stand for, in training."""
        self.codebook.follow(z, k)


def nearest_child(z: Tensor, codes: Tensor, parent: Tensor, num_children: int) -> Tensor:
    """The nearest child of each vector's parent: [*batch, M], integers.

    Two codes of different parents may be the same vector, so that the parent has to be told.

    Args:
        z: [*batch, M, D].
        codes: of the level, parent-major [P C, D].
        parent: [*batch, M], or a shape that broadcasts to it.
        num_children: C.
    """
    children = codes.unflatten(0, (-1, num_children))[parent]
    return parent * num_children + (z.unsqueeze(-2) - children).square().sum(-1).argmin(-1)


class ChildIndices(dist.TorchDistribution):
    """Indices of child codes given their parents', each cell for itself.

    Args:
        parent: [*batch, M].
        logits: of the children of each cell's parent [*batch, M, C].
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(self, parent: Tensor, logits: Tensor) -> None:
        self.parent, self.logits = parent, logits
        super().__init__(parent.shape[:-1], parent.shape[-1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Integers from 0."""
        return constraints.independent(constraints.nonnegative_integer, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of indices [*batch, M], nats; minus infinity where one is another parent's child.

        Either batch may be the narrower, as where one value stands for several particles.
        """
        number = self.logits.shape[-1]
        value = value.expand(torch.broadcast_shapes(value.shape, self.parent.shape))
        logits = self.logits.log_softmax(-1).expand(*value.shape, number)
        mass = logits.gather(-1, (value % number).unsqueeze(-1)).squeeze(-1)
        return torch.where(value // number == self.parent, mass, -torch.inf).sum(-1)

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw indices [*sample_shape, *batch, M]."""
        child = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
        return self.parent * self.logits.shape[-1] + child

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> ChildIndices:
        """Repeat the distribution over a larger batch."""
        cells = self.parent.shape[-1]
        shape = (*batch_shape, cells)
        return ChildIndices(self.parent.expand(shape), self.logits.expand(*shape, self.logits.shape[-1]))
