"""A site of a Pyro trace, which is also the message that Pyro's handlers pass around: the fields that are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, cast

from pyro import distributions as dist
from pyro import poutine
from torch import Tensor


class Frame(Protocol):
    """One plate, as a site in it sees it.

    Attributes:
        name: its name.
        dim: its dimension, counted from the right of the batch; a sequential plate has none, and is refused.
        size: the number of its elements at hand.
        full_size: the number of all of them, if not these.
        vectorized: whether it has a dimension.
    """

    name: str
    dim: int
    size: int
    full_size: int | None
    vectorized: bool


class TraceSite(TypedDict):
    """A sample site. Pyro's own type has optional fields that every sample site does have.

    Attributes:
        name: its name.
        type: "sample" where it is one.
        fn: the distribution.
        value: the draw or the data; None before it is drawn.
        is_observed: whether the value was given.
        done: whether the value is there, so that Pyro does not draw it.
        scale: the factor on its log density.
        mask: the mask on it; None where there is none.
        cond_indep_stack: the plates that it stands in.
        infer: the options of inference at it; None where there are none.
        args: of the distribution's ``sample``.
        kwargs: likewise.
        stop: whether handlers further out do not see it.
    """

    name: str
    type: str
    fn: dist.TorchDistribution
    value: Any
    is_observed: bool
    done: bool
    scale: Tensor | float
    mask: Tensor | bool | None
    cond_indep_stack: tuple[Frame, ...]
    infer: dict[str, object] | None
    args: tuple[object, ...]
    kwargs: dict[str, object]
    stop: bool


def sites_of(trace: poutine.Trace) -> Mapping[str, TraceSite]:
    """The nodes of a trace by name."""
    return cast(Mapping[str, TraceSite], trace.nodes)
