"""Parameters and constants of each datum: programs that take the indices of a batch's data.

A program with an argument named ``indices`` is called as model(x, indices=i): i is int64 [B], the rows of the batch
in the data that were given to ``fit``, ``evaluate`` or ``log_evidence``. So a program may keep something for each
datum, such as pyro.param("loc", zeros(N))[indices] or a known sigma[indices], and be trained in shuffled batches.

Programs that keep something for each datum and take no indices are right where a batch is all data in their order.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ppl_vae.declared import Qualified, Wrapped, Written
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.autoguides import AutoguideError
from ppl_vae.inference.pair.held import held_by
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.wrapping import Wrapping, innermost

NAME = "indices"


def takes_indices(program: Program) -> bool:
    """Tell whether a program has an argument named ``indices`` that is not bound yet."""
    if isinstance(program, Indexed):
        return False
    return _forward_takes(type(program).forward) if isinstance(program, nn.Module) else _takes(program)


@functools.lru_cache(maxsize=256)
def _forward_takes(forward: object) -> bool:
    # A step asks twice, and a function's arguments are what they are.
    return _takes(forward)


def _takes(program: object) -> bool:
    function = program
    while True:
        if isinstance(function, functools.partial):
            if NAME in function.keywords:
                return False
            function = function.func
        elif isinstance(function, Wrapping):
            function = function.program
        elif isinstance(function, nn.Module):
            function = type(function).forward
        elif inspect.ismethod(function):
            function = function.__func__
        elif isinstance(function, Wrapped):
            function = function.__wrapped__
        else:
            break
    written = function if isinstance(function, Written) else type(function).__call__
    if not isinstance(written, Written):
        return False
    code = written.__code__
    return NAME in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class Indexed(Wrapping):
    """A program whose last positional argument is the indices."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.passes_on = takes_indices(program)

    def __call__(self, *args: object) -> object:
        """Run the program."""
        *given, indices = args
        return self.program(*given, **({NAME: indices} if self.passes_on else {}))


def indexed(*programs: Program) -> tuple[Program, ...]:
    """Wrap programs so that both are called with the indices last, where one of them takes any."""
    return tuple(map(Indexed, programs)) if any(map(takes_indices, programs)) else programs


def with_indices(model: Program, guide: Program, data: Batch) -> tuple[Program, Program, Batch]:
    """Add the indices of the data to a pair's data (x, or x and y) where the programs take them."""
    model, guide = indexed(model, guide)
    if not isinstance(model, Indexed):
        return model, guide, data
    return model, guide, (*data, torch.arange(len(data[0]), device=data[0].device))


def require_indices(*programs: Program) -> None:
    """Refuse programs that take indices where none are given.

    Raises:
        ModelError: it is named.
    """
    for program in programs:
        if takes_indices(program):
            program = innermost(program)
            name = program.__name__ if isinstance(program, Qualified) else type(program).__name__
            raise ModelError(
                f"{name} takes the indices of its data, which fit, evaluate and log_evidence pass and this does not"
            )


@contextlib.contextmanager
def rows_named(model: Program, guide: Program, size: int, total: int) -> Iterator[None]:
    """Say so where programs fail on ``size`` of ``total`` data because they keep something for each datum.

    Raises:
        ModelError: the parameter or constant is named.
    """
    try:
        yield
    except Exception as error:
        name = _rows_of_each(total, model, guide) if size < total else None
        if name is None or isinstance(error, DataError | AutoguideError):
            raise
        raise ModelError(rows_refused(name, total, size)) from error


def rows_refused(name: str, total: int, size: int) -> str:
    """The words of a refusal."""
    return (
        f"{name} has a row for each of {total} data, but meets {size} of them at a time: let both programs take an "
        f"argument `indices` and use its rows, or take all data at once (batch_size={total})"
    )


def _rows_of_each(total: int, *programs: Program) -> str | None:
    """The name of a parameter or constant with one row for each of all data, or None."""
    for name, leaf in pyro.get_param_store()._params.items():
        if total in leaf.shape and "$$$" not in name:
            return f"param {name!r} {list(leaf.shape)}"
    for name, item in held_by(*(("", program) for program in programs)):
        if isinstance(item, Tensor | np.ndarray) and item.ndim and item.shape[0] == total:
            return f"{name} {list(item.shape)}"
    return None
