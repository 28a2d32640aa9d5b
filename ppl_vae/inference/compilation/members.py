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
        generator: of its draws in training.
        number: by which errors name it.
        home: where its programs are run.
    """

    eager: Stepper
    buffers: list[Tensor]
    generator: torch.Generator
    number: int
    home: Home = contextlib.nullcontext

    @property
    def tensors(self) -> list[Tensor]:
        """Its parameters and buffers."""
        return [*self.eager.parameters, *self.buffers]

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
        shared = next((holders[id(tensor)] for tensor in member.tensors if id(tensor) in holders), None)
        if shared is not None:
            raise ModelError(f"member {k}: it has parameters that are those of member {shared} too; copy them")
        holders |= {id(tensor): k for tensor in member.tensors}


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
