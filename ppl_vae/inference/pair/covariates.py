"""Covariates: what the programs of a pair take beside the data, as model(x, c1, ..., cm) and guide(x, c1, ..., cm).

Data are then a tuple (x, c1, ..., cm), passed to both programs by position, or a dict of arrays by the names of the
programs' parameters: each program is passed what it names, and a name that neither has is an error. Covariates have
N in front, as x has, and any dtype and shape behind it. Class labels y are one of them (``inference.pair.labels``).
What a program's parameters mean is said in ``inference.pair.parameters``; a program may also declare
``covariates``, their names in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import (
    Frame,
    Labels,
    Opened,
    Rows,
    Table,
    dense,
    is_container,
    opened,
    require_same_dimension,
    require_same_order,
)
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.labels import Batch, arguments
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.parameters import Parameters, parameters
from ppl_vae.inference.pair.protocols import Program, traits
from ppl_vae.inference.pair.wrapping import Wrapping


class ByName(Wrapping):
    """A program that is given its covariates by position and passes on, by name, those that it has."""

    def __init__(self, program: Program, names: tuple[str, ...], has: Parameters) -> None:
        super().__init__(program)
        self.covariates = names
        self.passed_on = tuple(name for name in names if has.names(name))

    def __call__(self, x: Tensor | None = None, *given: object, **further: object) -> object:
        """Run the program; without covariates only where it can do without."""
        named = dict(zip(self.covariates, given, strict=False))
        return self.program(x, **{name: named[name] for name in self.passed_on if name in named}, **further)


class AtCovariates(Wrapping):
    """A program at given covariates: a function of x alone."""

    def __init__(self, program: Program, given: tuple[Tensor, ...]) -> None:
        super().__init__(program)
        self.given = given

    def __call__(self, *x: object, **further: object) -> object:
        """Run the program on x and the covariates."""
        return self.program(*x, *self.given, **further)


def at_covariates(program: Program, given: tuple[Tensor, ...]) -> Program:
    """Bind covariates to a program, which leaves a function of x alone; without any it is unchanged."""
    return AtCovariates(program, given) if given else program


@dataclass(frozen=True)
class Arguments:
    """The rule by which data of a user's become the arguments of a pair's programs.

    Attributes:
        pair: whose programs take (x, c1, ..., cm) by position.
        model: what the generative program may be given.
        guide: what the guide may be given.
    """

    pair: Pair
    model: Parameters
    guide: Parameters

    @classmethod
    def of(cls, pair: Pair, example: object = None) -> Arguments:
        """The rule for a pair and data of this kind: by name, where ``example`` is a dict of named arrays.

        Raises:
            DataError: a name is missing, or one is there that neither program has; it is named.
        """
        rule = cls(pair, parameters(pair.model), parameters(pair.guide))
        example = rule.unpacked(example)
        if not isinstance(example, Mapping) or rule.model.in_order:
            return rule
        names = rule._named(example)
        if not names:
            return rule
        model, guide = ByName(pair.model, names, rule.model), ByName(pair.guide, names, rule.guide)
        source = pair.source
        return cls(replace(pair, model=model, guide=guide, source=source), parameters(model), parameters(guide))

    @property
    def takes_more(self) -> bool:
        """Tell whether the programs may be given anything beside x by position."""
        return self.model.takes_more or self.guide.takes_more

    @property
    def may_be_named(self) -> bool:
        """Tell whether a dict of data may hold anything beside x that the programs do not say the order of."""
        sides = self.model, self.guide
        return not self.model.in_order and any(side.by_name or side.any_name for side in sides)

    def takes(self, name: str) -> bool:
        """Tell whether a program has a parameter of this name that data may fill."""
        return any(name in (*side.needed, *side.by_position) for side in (self.model, self.guide))

    def names(self, count: int) -> tuple[str, ...]:
        """Name the first ``count`` covariates, for messages and manifests."""
        own = self.model.by_position or self.guide.by_position
        return tuple(own[i] if i < len(own) else f"covariate_{i + 1}" for i in range(count))

    @property
    def most(self) -> int | None:
        """The most covariates by position that both programs take; None where there is no end."""
        ends = [len(side.by_position) for side in (self.model, self.guide) if not side.any_number]
        return min(ends, default=None)

    def tensors(
        self, given: Sequence[object], x: Tensor, dtype: torch.dtype | None = None, where: str = "the data"
    ) -> Batch:
        """The covariates of x as tensors beside it; those of a pair that takes labels begin with y.

        Args:
            given: the covariates, as ``parts`` gives them.
            x: the data [N, *event_shape].
            dtype: of those that are floats; None leaves it.
            where: what x is, for an error.

        Raises:
            DataError: one of them does not fit; it is named.
        """
        model = self.pair.model
        labels: Batch = ()
        names = self.names(len(given))
        if self.pair.takes_labels:
            # Where labels may be missing the pair may be asked about x alone.
            needed = bool(given) or self.pair.needs_labels
            labels = arguments(True, x, given[0] if given else None, where)[1:] if needed else ()
            given, names = given[1:], names[1:]
        allows = traits(model).allows_missing
        further = (covariate(c, name, x, dtype, allows) for c, name in zip(given, names, strict=True))
        return (*labels, *further)

    def parts(self, data: object, y: object = None) -> tuple[object, ...]:
        """Take data apart into (x, c1, ..., cm), not yet tensors.

        Args:
            data: x; where the programs take more a tuple (x, c1, ..., cm) or a dict of named arrays.
            y: the covariate named y, where the programs have it; else not looked at.

        Raises:
            DataError: there are too many, or a name that neither program has.
            ModelError: the programs need more than there is.
        """
        data = self.unpacked(data)
        if isinstance(data, Mapping):
            parts = self._in_order(data)
        elif isinstance(data, tuple) and self.takes_more:
            parts = data
        else:
            parts = (data,)
        if y is not None and self.model.by_position[len(parts) - 1 : len(parts)] == ("y",):
            parts = (*parts, y)
        self._require_fit(len(parts) - 1)
        return self._of_one_order(parts)

    def own_y(self, data: object) -> object:
        """The covariate named y among data of any form; None where it is not among them."""
        data = self.unpacked(data)
        if isinstance(data, Mapping):
            return data.get("y") if self.takes("y") else None
        own = self.names(len(data) - 1) if isinstance(data, tuple) and self.takes_more else ()
        return data[1 + own.index("y")] if "y" in own and isinstance(data, tuple) else None

    def in_batch(self, batch: object) -> object:
        """A batch of the user's own as data, without what comes in it beside what the programs take."""
        if not isinstance(batch, list | tuple):
            return batch
        most = self.most if self.takes_more else 0
        kept = tuple(batch if most is None else batch[: 1 + most])
        return kept if len(kept) > 1 else kept[0]

    def unpacked(self, data: object) -> object:
        """A container as x, or as a dict of x and the covariates in it; other data as they are."""
        return opened(data).arranged(self.model.data, self.takes) if is_container(data) else data

    def labels(self, data: object) -> Labels:
        """The names of the rows and coordinates of x in data of any form.

        Raises:
            DataError: the columns of an array are named as those of a model of named columns, in another order.
        """
        if is_container(data):
            whole = opened(data)
            if whole.by_name is not None:
                return self.labels(whole.arranged(self.model.data, self.takes))
            labels = whole.labelled(self.takes)
            if self.table is None:
                return labels
            # A model of named columns finds those of a frame, and takes those of an array by their places.
            if not isinstance(whole.x, Frame):
                require_same_order({"": [list(self.table.column_names)]}, labels, "the model's columns")
            return labels.with_columns(self.table.column_names)
        if isinstance(data, Mapping):
            first = self.labels(data[self.model.data]) if self.model.data in data else Labels()
            return _with_covariates(first, {name: c for name, c in data.items() if name != self.model.data})
        if isinstance(data, tuple) and data and self.takes_more:
            names = self.names(len(data) - 1)
            return _with_covariates(self.labels(data[0]), dict(zip(names, data[1:], strict=True)))
        return Labels()

    def _of_one_order(self, parts: tuple[object, ...]) -> tuple[object, ...]:
        """The parts without their containers, whose rows must not be named in another order than those of x."""
        if not any(map(is_container, parts)):
            return parts
        for name, part in zip(self.names(len(parts) - 1), parts[1:], strict=True):
            require_same_dimension(parts[0], part, name)
        first, *given = (opened(part) if is_container(part) else Opened(part) for part in parts)
        for name, part in zip(self.names(len(given)), given, strict=True):
            first.labels.require_same_rows(part.labels, name)
        x = first.x
        if self.table is not None and isinstance(x, Frame):
            x = self.table.coded(x)
        return (x, *(part.x for part in given))

    @property
    def table(self) -> Table | None:
        """The reader that turns a frame of named columns into data; None where nothing does."""
        return traits(self.pair.model).table

    def _in_order(self, data: Mapping[str, object]) -> tuple[object, ...]:
        names = self._named(data)
        order = [name for name in self.model.by_position if name in names]
        missing = [name for name in self.model.by_position[: len(order)] if name not in names]
        if missing or len(order) < len(names):
            raise DataError(f"data: expected {', '.join(map(repr, self.model.by_position))}, found {sorted(names)}")
        return (data[self.model.data], *(data[name] for name in order))

    def _named(self, data: Mapping[str, object]) -> tuple[str, ...]:
        """The names of the covariates of a dict, judged by what the programs name."""
        if self.model.data not in data:
            raise DataError(
                f"data: expected {self.model.data!r}, the first parameter of the model, among the names "
                f"{', '.join(map(repr, data)) or 'of an empty dict'}"
            )
        names = tuple(name for name in data if name != self.model.data)
        for name in names:
            if not (self.model.names(name) or self.guide.names(name)):
                known = sorted({*self.model.by_name, *self.guide.by_name})
                raise DataError(
                    f"data: neither program has a parameter {name!r}; they take "
                    f"{', '.join(map(repr, (self.model.data, *known)))}"
                )
        for side, program in (("model", self.model), ("guide", self.guide)):
            missing = [name for name in program.needed if name not in names]
            if missing:
                raise ModelError(f"the {side} needs {missing[0]!r}, which is not among the data: {list(data)}")
        return names

    def _require_fit(self, count: int) -> None:
        """Refuse more or fewer covariates than the programs take by position."""
        for side, program in (("model", self.model), ("guide", self.guide)):
            filled = {*program.by_position[:count], *(("y",) if self.pair.takes_labels else ())}
            lacking = [name for name in program.needed if name not in filled]
            if lacking:
                by_name = f"a dict {{{program.data!r}: ..., {lacking[0]!r}: ...}}"
                by_position = f"a tuple ({program.data}, {lacking[0]}) or " if not count else ""
                raise ModelError(
                    f"the {side} needs {lacking[0]!r} beside {program.data}: give data as {by_position}{by_name}"
                )
            if count > len(program.by_position) and not program.any_number:
                takes = ", ".join(program.by_position) or "nothing"
                raise ModelError(
                    f"the {side} takes {takes} beside {program.data}, found {count} covariates by position; give a "
                    "dict by the names of the parameters, of which each program is passed its own"
                )


def _with_covariates(labels: Labels, covariates: Mapping[str, object]) -> Labels:
    """The labels of x, with the names of the event dimensions of covariates that are containers."""
    beside = {name: opened(c).labels for name, c in covariates.items() if is_container(c)}
    dims = {name: each.dims[""] for name, each in beside.items() if "" in each.dims}
    return replace(labels, beside={name: each.axes for name, each in beside.items()}, dims={**labels.dims, **dims})


def covariate(
    value: object, name: str, x: Tensor, dtype: torch.dtype | None = None, allows_missing: bool = False
) -> Tensor:
    """A covariate as a tensor [N, ...] beside x: floats in a precision, integers as int64, booleans as they are.

    Raises:
        DataError: it is no array of numbers, has another length than x, or NaN or infinite values; it is named.
    """
    c = dense(value) if isinstance(value, Rows) else to_tensor(value, name, "an array of numbers [N, ...]").detach()
    if c.dim() == 0 or len(c) != len(x):
        raise DataError(f"{name}: expected one for each of {len(x)} data, [N, ...], found shape {list(c.shape)}")
    if not c.is_floating_point():
        # As an index, bytes would be a mask, and other small integers are none.
        return c.to(x.device, c.dtype if c.dtype == torch.bool else torch.int64)
    bad = c.isinf() if allows_missing else ~c.isfinite()
    if bad.any():
        where = f"{name}: NaN or infinite values, the first at index {bad.nonzero()[0].tolist()}"
        hint = (
            ""
            if allows_missing or c.isinf().any()
            else "; a model that masks them says so by allows_missing = True"
        )
        raise DataError(where + hint)
    return c.to(x.device, dtype or c.dtype)
