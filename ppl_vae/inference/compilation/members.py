"""Members of one architecture that are trained together: what each has of its own, and their weights stacked.

The parameters and buffers of each member become views of stacked tensors, so that whatever looks at a member while
it trains (an evaluation, a copy of its weights) sees what the steps did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.steps import Stepper
from ppl_vae.inference.training.weights import Weights

# Puts what Pyro keeps of a member's own in the place of its store.
Home = Callable[[], contextlib.AbstractContextManager[object]]


class ApartError(ModelError):
    """Members whose steps cannot be taken as one, though each can be trained alone."""


@dataclass(frozen=True)
class Member:
    """One of several that are trained together.

    Attributes:
        eager: its step.
        buffers: what a step may change besides its parameters.
        frozen: the parameters that it leaves as they are, and that are not those of all other members too.
        generator: of its draws in training.
        number: by which errors name it.
        home: where its programs are run.
    """

    eager: Stepper
    buffers: list[Tensor]
    generator: torch.Generator
    number: int
    home: Home = contextlib.nullcontext
    frozen: Sequence[Tensor] = ()

    @property
    def held(self) -> list[Tensor]:
        """Its buffers, and the frozen parameters of its own."""
        return [*self.buffers, *self.frozen]

    @property
    def tensors(self) -> list[Tensor]:
        """Its parameters, buffers and frozen parameters."""
        return [*self.eager.parameters, *self.held]

    def batch(self, batches: IndexedBatches, number: int) -> Batch:
        """Its batch of a number, binarised by its own generator if that is to be."""
        data, indices = batches.data, batches.indices[number]
        x, *beside = replace(data, dynamic=False).batch(batches.x, indices)
        return x.bernoulli(generator=self.generator) if data.dynamic else x, *beside


def require_alike(members: Sequence[Member]) -> None:
    """Refuse members whose weights cannot be those of one architecture.

    Raises:
        ModelError: the shapes of a member differ from those of the first, or it shares a tensor with another; it is
            numbered.
    """
    shapes = [tensor.shape for tensor in members[0].tensors]
    holders: dict[int, int] = {}
    for k, member in enumerate(members):
        if [tensor.shape for tensor in member.tensors] != shapes:
            raise ApartError(f"member {k}: its parameters have other shapes than those of member 0; fit it alone")
        # Frozen ones may be shared, as what is not changed is right for all.
        moving = [*member.eager.parameters, *member.buffers]
        shared = next((holders[id(tensor)] for tensor in moving if id(tensor) in holders), None)
        if shared is not None:
            raise ModelError(f"member {k}: it has parameters that are those of member {shared} too; copy them")
        holders |= {id(tensor): k for tensor in moving}


def frozen_of_each(weights: Sequence[Weights]) -> list[list[Tensor]]:
    """The frozen parameters that each member has, without those that are one tensor in all of them.

    Raises:
        ApartError: what is frozen in one is trained in another; the member and the parameter are named.
    """
    frozen = [each.frozen() for each in weights]
    for k, (own, each) in enumerate(zip(frozen, weights, strict=True)):
        thawed = [name for name in frozen[0] if name in each.named_parameters()]
        other = [name for name in own if name in weights[0].named_parameters()]
        if thawed or other:
            frozen_in, trained_in = (0, k) if thawed else (k, 0)
            raise ApartError(
                f"member {k}: {(thawed or other)[0]} is frozen in member {frozen_in} and trained in member "
                f"{trained_in}; those that train together have the same parameters frozen (requires_grad), "
                "whatever their values; fit it alone"
            )
    leaves = [list(own.values()) for own in frozen]
    if len({len(own) for own in leaves}) > 1:
        # Of other architectures, which are refused by their shapes.
        return leaves
    apart = [row for row in zip(*leaves, strict=True) if any(leaf is not row[0] for leaf in row)]
    return [[row[k] for row in apart] for k in range(len(leaves))]


def stack(members: Sequence[Member]) -> list[Tensor]:
    """Stack the tensors of all members, which become views of what is returned: [M, ...] each.

    Those of one member stay as they are.
    """
    if len(members) == 1:
        return members[0].tensors
    stacked = [torch.stack([t.detach() for t in each]) for each in zip(*(m.tensors for m in members), strict=True)]
    for k, member in enumerate(members):
        for tensor, whole in zip(member.tensors, stacked, strict=True):
            tensor.data = whole[k]
    return stacked


def unstack(members: Sequence[Member]) -> None:
    """Give each member memory of its own again."""
    for member in members:
        for tensor in member.tensors:
            tensor.data = tensor.data.clone()
