"""Data that come in batches: a DataLoader, a list of batches, or whatever can be iterated more than once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arrays import is_array, to_tensor
from ppl_vae.containers import (
    CoordinateNames,
    Data,
    Labels,
    Opened,
    Rows,
    dense,
    is_container,
    opened,
    require_same_order,
)
from ppl_vae.errors import DataError, ModelError, PplVaeError, first_line
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.pair import Pair

# What loaders draw comes from a stream of its own under a seed.
LOADER_STREAM = 91

Item = TypeVar("Item")


def is_stream(data: object) -> TypeGuard[Iterable[object]]:
    """Tell whether data come in batches, and not in one piece."""
    if isinstance(data, Tensor | Rows | Mapping | tuple | str | Opened | Iterator) or not isinstance(
        data, Iterable
    ):
        return False
    return not is_container(data) and not is_array(data) and not (isinstance(data, list) and _is_nested(data))


def require_own_labels(y: object) -> None:
    """Refuse labels beside batches, to which they could not be matched.

    Raises:
        ModelError: there are some.
    """
    if y is not None:
        raise ModelError("y= goes with data in one piece; batches bring their own, as (x, y)")


def batches_of(data: Iterable[object]) -> Iterator[object]:
    """The batches in their order.

    Raises:
        DataError: a batch could not be had; it is numbered from 0, with what went wrong.
    """
    number, batches = 0, iter(data)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except PplVaeError:
            raise
        except Exception as error:
            reason = first_line(error)
            raise DataError(f"data: batch {number} could not be had: {type(error).__name__}: {reason}") from error
        yield batch
        number += 1


class OneOrder:
    """The names of coordinates in the batches so far, whose order all further ones must have."""

    def __init__(self) -> None:
        self.seen: CoordinateNames = {}

    def __call__(self, rule: Arguments, batch: object) -> object:
        """A batch as data, without what the programs do not take.

        Raises:
            DataError: its columns are those of the batches before it in another order.
        """
        data = rule.in_batch(batch)
        labels = rule.labels(data)
        require_same_order(self.seen, labels, "the batches before")
        self.seen = {**labels.coordinates(), **self.seen}
        return data


def in_own_stream(data: Iterable[Item], seed: int) -> Iterator[Item]:
    """The batches, with a stream of torch's global generator that no one else draws from.

    A DataLoader draws from it at every start, and its order too where it shuffles: the global one is left as it
    was, and a seed gives one order.
    """
    state, iterator = torch.Generator().manual_seed(seed).get_state(), None
    while True:
        with exclusive(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            iterator = iter(data) if iterator is None else iterator
            try:
                batch = next(iterator)
            except StopIteration:
                return
            state = torch.get_rng_state()
        yield batch


def in_one_piece(pair: Pair, x: object) -> Data:
    """Data that may come in batches or in a container as one piece, with the names that they have.

    Raises:
        DataError: as of ``gathered`` and of ``containers.opened``.
    """
    whole = gathered(pair, x) if is_stream(x) else x
    return cast(Data, opened(whole) if is_container(whole) else whole)


def gathered(pair: Pair, data: Iterable[object]) -> object:
    """All batches as data in one piece: x, or (x, c1, ..., cm).

    Raises:
        DataError: there is no batch, or they do not fit together.
    """
    rule: Arguments | None = None
    parts: list[tuple[Tensor, ...]] = []
    in_order, labels = OneOrder(), list[Labels]()
    for batch in batches_of(in_own_stream(data, LOADER_STREAM)):
        rule = rule or Arguments.of(pair, batch)
        one = in_order(rule, batch)
        parts.append(tuple(to_tensor(dense(part)) for part in rule.parts(one)))
        labels.append(rule.labels(one))
    if rule is None:
        raise DataError("data are empty: there is not one batch")
    try:
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    except (RuntimeError, ValueError) as error:
        raise DataError(f"data: the batches do not fit together ({first_line(error)})") from None
    names, x = rule.names(len(columns) - 1), _named(columns[0], labels, [len(part[0]) for part in parts])
    if rule.pair is pair:
        return x if len(columns) == 1 else (x, *columns[1:])
    return {rule.model.data: x, **dict(zip(names, columns[1:], strict=True))}


def _named(x: Tensor, labels: Sequence[Labels], sizes: Sequence[int]) -> Tensor | Opened:
    """All of x with the names that its batches had, of rows where all of them did."""
    rows = [
        np.arange(n) if each.rows is None and each.counted else each.rows
        for each, n in zip(labels, sizes, strict=True)
    ]
    known = [each for each in rows if each is not None]
    whole = np.concatenate(known) if len(known) == len(rows) else None
    # Rows that are numbered in every batch anew have no names.
    if all(each.rows is None for each in labels):
        whole = None
    found = replace(labels[0], rows=whole, counted=False)
    return Opened(x, found) if found.coordinates() or whole is not None else x


def _is_nested(data: list[object]) -> bool:
    """Tell a nested list, of numbers or of what no array is made of, from a list of batches."""
    first = data[0] if data else None
    return not isinstance(first, tuple | list | Mapping) and not is_array(first) and not is_container(first)
