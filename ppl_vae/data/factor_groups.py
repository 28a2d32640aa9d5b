"""Groups of data that share some of their ground-truth factors: the weak supervision of pairs and groups.

Locatello et al. (2020): https://arxiv.org/abs/2002.02886; Bouchacourt et al. (2018): https://arxiv.org/abs/1705.08841
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.errors import DataError, unknown_name


@dataclass(frozen=True)
class FactorGroups:
    """Groups of data.

    Attributes:
        x: the members, float32 [P, G, *event_shape].
        rows: where they stand in the data they were drawn from, int64 [P, G].
        shared: which factors have one value in the whole group, bool [P, F]; nothing that trains looks at it.
        factor_names: one name per column of ``shared``.
    """

    x: Tensor
    rows: Tensor
    shared: Tensor
    factor_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


def factor_groups(
    data: Dataset | Split,
    num_groups: int,
    size: int = 2,
    shared: int | str | Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> FactorGroups:
    """Draw groups whose members have the same value of some factors, from a fixed set of data.

    The first member is uniform over the data, the others over those that agree with it on the shared factors,
    itself left out; with ``size`` above 2 one of them may come twice. What is not shared is free, and may agree by
    chance.

    Args:
        data: with ``factors``, or with labels alone, which are then the one factor, "label". Of a Dataset its
            training split.
        num_groups: P.
        size: G, 2 for pairs.
        shared: names of the factors that every group shares, as for "group-vae"; or their number, of which each
            group draws its own set; or None, where the number is drawn too, from 1 to F - 1, as for "ada-gvae". F
            counts the factors that vary; one with a single value is always shared.
        seed: of the draws.

    Raises:
        DataError: there are neither factors nor labels, a name or number does not fit, or no two data share what is
            to be shared: factors with few levels are needed.

    >>> split = Split(torch.arange(4.0)[:, None], factors=torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]))
    >>> groups = factor_groups(split, 5, shared=1)
    >>> groups.x.shape, groups.shared.sum(1).tolist()
    (torch.Size([5, 2, 1]), [1, 1, 1, 1, 1])
    """
    split, levels, names = _levels(data)
    num_groups, size = integer("num_groups", num_groups), integer("size", size, least=2)
    rng = np.random.default_rng(seed)
    varying = (levels != levels[0]).any(0)
    wanted = _wanted(shared, names, varying, num_groups, rng)
    rows = np.empty((num_groups, size), dtype=np.int64)
    sets, which = np.unique(wanted, axis=0, return_inverse=True)
    for number, columns in enumerate(sets):
        groups = np.flatnonzero(which.ravel() == number)
        rows[groups] = _mates(levels[:, columns], len(groups), size, rng)
        if (rows[groups] < 0).any():
            told = ", ".join(name for name, on in zip(names, columns, strict=True) if on)
            raise DataError(
                f"factors: no two of {len(levels)} data share {told}; factors with few levels are needed"
            )
    agree = (levels[rows] == levels[rows[:, :1]]).all(1)
    index = torch.from_numpy(rows)
    return FactorGroups(split.x[index], index, torch.from_numpy(agree), names)


def _levels(data: Dataset | Split) -> tuple[Split, NDArray[np.int64], tuple[str, ...]]:
    """The split, the numbered values of its factors [N, F], and their names."""
    split = data.train if isinstance(data, Dataset) else data
    if not isinstance(split, Split):
        raise DataError(f"factor_groups: expected a Dataset or a Split, found {type(data).__name__}")
    if split.factors is None and split.y is None:
        raise DataError("factor_groups: expected data with factors or labels, found neither")
    names = ("label",) if split.factors is None else data.factor_names if isinstance(data, Dataset) else ()
    values = split.y[:, None] if split.factors is None and split.y is not None else split.factors
    assert values is not None
    array = values.cpu().numpy()
    names = names or tuple(f"factor {index}" for index in range(array.shape[1]))
    numbered = [np.unique(column, return_inverse=True)[1].ravel() for column in array.T]
    return split, np.stack(numbered, 1).astype(np.int64), names


def _wanted(
    shared: int | str | Sequence[str] | None,
    names: tuple[str, ...],
    varying: NDArray[np.bool_],
    num_groups: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose the factors that each group shall share: [P, F]."""
    if isinstance(shared, str | Sequence):
        chosen = [shared] if isinstance(shared, str) else list(shared)
        for name in chosen:
            if name not in names:
                raise DataError(unknown_name("factor", name, names))
        return np.tile([name in chosen for name in names], (num_groups, 1))
    free = np.flatnonzero(varying)
    most = len(free) - 1
    if most < 1:
        raise DataError(f"shared: {len(free)} of {len(names)} factors vary, so that nothing is left to change")
    if shared is not None and integer("shared", shared) > most:
        raise DataError(
            f"shared: expected a number from 1 to {most}, of {len(free)} factors that vary, got {shared}"
        )
    counts = rng.integers(1, most + 1, size=num_groups) if shared is None else np.full(num_groups, shared)
    order = rng.permuted(np.tile(np.arange(len(free)), (num_groups, 1)), axis=1)
    wanted = np.zeros((num_groups, len(names)), dtype=np.bool_)
    wanted[:, free] = order < counts[:, None]
    return wanted


def _mates(levels: NDArray[np.int64], count: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows [count, size] that agree on all of levels [N, f]; -1 where no two data do."""
    _, kind, counts = np.unique(levels, axis=0, return_inverse=True, return_counts=True)
    kind = kind.ravel()
    able = np.flatnonzero(counts[kind] > 1)
    if not len(able):
        return np.full((count, size), -1)
    order = np.argsort(kind, kind="stable")
    starts = np.cumsum(counts) - counts
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - starts[kind[order]]
    first = rng.choice(able, size=(count, 1))
    of = kind[first]
    # One place fewer than there are: those from its own on are moved by one.
    steps = (rng.random((count, size - 1)) * (counts[of] - 1)).astype(np.int64)
    steps += steps >= place[first]
    return np.concatenate([first, order[starts[of] + steps]], 1)
