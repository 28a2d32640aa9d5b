"""Functions of tensors that are called thousands of times: recorded, folded, compared before they are trusted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, fx

from ppl_vae.folded import folded
from ppl_vae.recording import Recording, record

Evaluated = TypeVar("Evaluated", bound=tuple[Tensor, ...])
# A recording does the same operations: what is further off than rounding is another function.
RELATIVE, ABSOLUTE = 1e-5, 1e-6


class ReplayedByShape(Generic[Evaluated]):
    """A function of tensors, recorded once for every shape of the first of them, and one of its results alone.

    Args:
        function: what is called; all that it finds beside its arguments must stay as it is.
        alone: the index of the result that ``one`` gives.
        elsewhere: from arguments to others of their shapes, where a recording is compared with the function.
        record: whether to record; else every call runs the function.
    """

    def __init__(
        self,
        function: Callable[..., Evaluated],
        alone: int,
        elsewhere: Callable[..., Sequence[Tensor]],
        record: bool = True,
    ) -> None:
        self.function, self.alone, self.elsewhere, self.record = function, alone, elsewhere, record
        self._known: dict[torch.Size, tuple[Callable[..., Evaluated], Callable[..., Tensor]]] = {}

    def __call__(self, *given: Tensor) -> Evaluated:
        """All results."""
        given = tuple(each.contiguous() for each in given)  # a recording holds for the strides that it has seen
        return self._at(given)[0](*given)

    def one(self, *given: Tensor) -> Tensor:
        """The one result: what only the others are made of is left out."""
        given = tuple(each.contiguous() for each in given)
        return self._at(given)[1](*given)

    def _at(self, given: tuple[Tensor, ...]) -> tuple[Callable[..., Evaluated], Callable[..., Tensor]]:
        shape = given[0].shape
        if shape not in self._known:
            run = self.function
            if self.record:
                run = recorded_or_run(run, given, self.elsewhere(*given))
            self._known[shape] = run, one_result(run, self.alone)
        return self._known[shape]


def recorded_or_run(
    function: Callable[..., Evaluated], given: Sequence[Tensor], elsewhere: Sequence[Tensor]
) -> Callable[..., Evaluated]:
    """A recording of a function of tensors, made at ``given``; the function itself where there is none to trust.

    A recording is trusted where it does as the function does at another point, ``elsewhere``. What else the
    function finds, such as weights, must stay as it is while the recording is used.
    """
    try:
        replay = replayed(function, *given)
        with torch.no_grad():
            trusted = are_same(replay(*elsewhere), function(*elsewhere))
    except Exception:  # Whatever the recorder cannot follow, the function itself can do.
        return function
    return replay if trusted else function


def replayed(function: Callable[..., object], *given: Tensor) -> Recording:
    """Record ``function(*given)`` without what is the same at every call; nobody has compared it yet.

    Raises:
        RuntimeError: the function looks at a value that the next call may find otherwise.
        NotImplementedError: an operation takes what no graph holds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = record(function, *given)
        recorded.program.graph.eliminate_dead_code()
        return folded(recorded, *given)


def one_result(run: Callable[..., tuple[Tensor, ...]], index: int) -> Callable[..., Tensor]:
    """One result of a function: of a recording without the operations that only the others need.

    Its numbers are those of the whole recording, bit for bit.
    """
    if not isinstance(run, Recording):
        return lambda *given: run(*given)[index]
    graph = fx.Graph()
    results = graph.graph_copy(run.program.graph, {})
    assert isinstance(results, tuple | list)
    graph.output(results[index])
    graph.eliminate_dead_code()
    return Recording(fx.GraphModule(run.program, graph), run.constants)


def are_same(these: Iterable[Tensor], those: Iterable[Tensor]) -> bool:
    """Tell whether tensors agree in kind, in shape, and up to rounding."""
    these, those = list(these), list(those)
    alike = [(a.dtype, a.shape) for a in these] == [(b.dtype, b.shape) for b in those]
    return alike and all(
        torch.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
        for a, b in zip(these, those, strict=True)
    )
