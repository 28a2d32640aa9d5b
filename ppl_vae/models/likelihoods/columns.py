r"""A likelihood for tables: each column has a likelihood of its own kind.

    p(x | z) = prod over columns d of p_d(x_d | z),

exactly the missing cells (NaN) integrated out (Nazabal et al. 2020). With ``standardize`` a column that has a
location and a scale is modelled as (v - loc) / scale, v = x or log x, loc and scale from the training data. Its
density is one of x in its own units: log p_d(x) = log p((v - loc) / scale) - log scale (- log x for a log-normal),
so that nats do not depend on units of the model's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.distributions.levels import Levels
from ppl_vae.distributions.mixed import Block, MixedBlocks, in_units
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.configuration import Config, Plain, own_config, plain, remembers
from ppl_vae.models.likelihoods import frames
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.column_scales import ColumnScales

Kind = str | Mapping[str, object] | Likelihood
Kinds = Mapping[str, Kind] | Sequence[tuple[str, Kind]]
# A bare name stands for this: a fixed sigma of 1 says nothing of a column.
LEARNED: dict[str, Config] = {"gaussian": {"name": "gaussian", "sigma": "learned"}}


class Columns(Likelihood):
    """A likelihood for a table [N, D] whose columns are of different kinds.

    What a kind learns beside the decoder, such as sigma, a dispersion or cutpoints, is learned for each column, and
    begins at what the training data are like. Columns of one kind share a block, so that a step costs what its
    kinds cost. NaN marks a missing cell. An encoder of ours sees columns standardised, logarithms of counts and of
    positive data, an indicator for each code, and which cells are missing; one of your own sees x, with 0 where
    one is missing unless it ``takes_missing``.

    Nazabal, Olmos, Ghahramani & Valera (2020): https://arxiv.org/abs/1807.03653

    Args:
        kinds: by a column's name, in the order of the data's coordinates: the name of a likelihood, its
            configuration as ``ordinal(4)`` gives it, or a Likelihood. "gaussian" learns sigma.
        standardize: take location and scale from the data of the first ``fit``.

    Raises:
        ModelError: there are no columns, or a kind is none.

    >>> columns = Columns({"age": "gaussian", "smoker": "bernoulli", "stage": {"name": "ordinal", "levels": 4}})
    >>> columns.column_names
    ('age', 'smoker', 'stage')
    """

    name = "columns"
    allows_missing = True
    encoder_sees_mask = True

    @remembers
    def __init__(self, kinds: Kinds = (), standardize: bool = True) -> None:
        super().__init__()
        named = list(kinds.items() if isinstance(kinds, Mapping) else kinds)
        self.column_names = tuple(str(column) for column, _ in named)
        _require_columns(self.column_names)
        self.standardize = bool(standardize)
        parts, self._placed = _parts(dict(zip(self.column_names, (kind for _, kind in named), strict=True)))
        self.parts = nn.ModuleList(parts)
        configs: list[Plain] = [own_config(part, table_of_likelihoods().LIKELIHOODS) for part in parts]
        self.remember(kinds=self._kinds(configs))
        for number, places in enumerate(self._placed):
            self.register_buffer(f"index_{number}", torch.tensor(places), persistent=False)
            parts[number].for_columns(len(places))
        owners = [self.part_of(column) for column in range(len(named))]
        self.num_parameters = max(part.num_parameters for part in parts)
        self.is_density = all(part.is_density for part in parts)
        widths = [part.num_parameters if part.encoder_sees == "codes" else 1 for part in owners]
        self.scales = ColumnScales([part.encoder_sees for part in owners], widths)

    @classmethod
    def from_frame(
        cls, frame: Any, standardize: bool = True, report: Callable[[str], object] | None = print
    ) -> Columns:
        """The kinds of a frame's columns by their dtypes and values, told in a line each.

        Booleans and 0/1 are "bernoulli", categories "ordinal" or "nominal" by their order, text "nominal", whole
        numbers from 0 whose variance is above their mean "negative-binomial", all others "gaussian" or, where all
        are positive and its density is higher, "log-normal".

        Args:
            frame: of pandas or polars.
            standardize: as of the class.
            report: what is called with each line; None tells nothing.

        Raises:
            DataError: a column is of no such kind; it is named.
        """
        chosen = frames.kinds_of(frame)
        if report is not None:
            for line in frames.told(chosen):
                report(line)
        return cls({choice.column: choice.kind for choice in chosen}, standardize)

    @property
    def table(self) -> Columns:
        """The reader that turns a frame into data."""
        return self

    def part_of(self, column: int) -> Likelihood:
        """The likelihood of a column by its place."""
        number = next(number for number, places in enumerate(self._placed) if column in places)
        part = self.parts[number]
        assert isinstance(part, Likelihood)
        return part

    def coded(self, frame: Any) -> Tensor:
        """The numbers in a frame, its columns by name, levels by their codes: [N, D].

        Raises:
            DataError: a column is missing, unknown or no array of numbers, or a level is unknown; it is named.
        """
        return frames.coded(frame, self.column_names, [self.part_of(i) for i in range(len(self.column_names))])

    @property
    def column_levels(self) -> dict[str, tuple[str, ...]]:
        """The names of levels by column, where they have names."""
        named = {column: frames.level_names(self.part_of(i)) for i, column in enumerate(self.column_names)}
        return {column: names for column, names in named.items() if names}

    def central(self, p: MixedBlocks) -> Tensor:
        """The mean of each column under p(x|z), and of levels with names the most likely one: [*batch, D]."""
        central, named = p.mean.clone(), self.column_levels
        for block in p.blocks:
            # The columns of a block have one likelihood, and so the same levels.
            if isinstance(block.base, Levels) and self.column_names[int(block.index[0])] in named:
                central[..., block.index] = block.base.log_masses.argmax(-1).to(central.dtype)
        return central

    def frame(self, x: Tensor) -> Any:
        """Data [N, D] as a pandas DataFrame with these columns, levels by their names."""
        return frames.frame(x, self.column_names, [self.part_of(i) for i in range(len(self.column_names))])

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of rows."""
        return self._mixed(features, None)

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) where it is conditioned on x."""
        return self._mixed(features, x)

    def _mixed(self, features: Tensor, x: Tensor | None) -> MixedBlocks:
        blocks = []
        for part, index in self._blocks():
            own = features.index_select(-1, index).narrow(-2, 0, part.num_parameters)
            p = part(own, 1) if x is None else part.adapt(own, self._modelled(part, x, index), 1)
            base = p.base_dist
            if part.is_scaled:
                base = in_units(base, self.scales.loc[index], self.scales.scale[index])
            blocks.append(Block(index, base, part.inside))
        return MixedBlocks(blocks, len(self.column_names))

    def _modelled(self, part: Likelihood, x: Tensor, index: Tensor) -> Tensor:
        """Columns in the units in which their likelihood has its location and scale."""
        columns = x.index_select(-1, index)
        if not part.is_scaled or part.encoder_sees != "x":
            return columns
        return (columns - self.scales.loc[index]) / self.scales.scale[index]

    def check(self, x: Tensor) -> None:
        """Judge the observed values of each column as its likelihood does; the column is named."""
        for number, name in enumerate(self.column_names):
            observed = x[..., number][~x[..., number].isnan()]
            if len(observed):
                try:
                    self.part_of(number).check(observed)
                except DataError as error:
                    raise DataError(f"column {name!r}: {error}") from None

    def require_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Refuse data of another shape than [N, D]."""
        if event_shape != (len(self.column_names),):
            raise ModelError(
                f"likelihood {self.name!r} has {len(self.column_names)} columns, but event_shape is {event_shape}"
            )

    def look_at(self, x: Tensor) -> None:
        """Take scales, and where to begin, from the data [N, D] of the first fit."""
        if self.scales.num_seen == 0:
            own = [(index, part.location_and_scale) for part, index in self._blocks() if part.is_scaled]
            self.scales.look_at(x, self.standardize, own)
            for part, index in self._blocks():
                part.begin_at(self._modelled(part, x, index))

    def start(self, x: Tensor) -> Tensor:
        """The features [P, D] of a constant decoder of data x [N, D]."""
        features = x.new_zeros(self.num_parameters, x.shape[-1])
        for part, index in self._blocks():
            columns = x.index_select(-1, index)
            start = None if part.is_scaled and self.standardize else part.start(columns)
            if part.name == "bernoulli":
                count = (~columns.isnan()).sum(0)
                start = ((columns.nansum(0) + 0.5) / (count + 1)).logit().unsqueeze(0)
            if start is not None:
                features[: part.num_parameters, index] = start.to(features.dtype)
        return features

    def _blocks(self) -> list[tuple[Likelihood, Tensor]]:
        parts: Any = self.parts
        return [(part, self.get_buffer(f"index_{number}")) for number, part in enumerate(parts)]

    def _kinds(self, configs: Sequence[Plain]) -> Plain:
        """The kinds as JSON holds them, in order; None where one is the user's own."""
        if None in configs:
            return None
        owner = {column: number for number, places in enumerate(self._placed) for column in places}
        return [[name, plain(configs[owner[i]])] for i, name in enumerate(self.column_names)]


def table_of_likelihoods() -> ModuleType:
    """The module of likelihoods by name, of which this is one, so that neither can be imported before the other."""
    return importlib.import_module("ppl_vae.models.likelihoods.likelihoods")


def _require_columns(names: Sequence[str]) -> None:
    if not names:
        raise ModelError("likelihood 'columns' needs the kinds of its columns, as Columns({'age': 'gaussian'})")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"likelihood 'columns': column {twice[0]!r} is there twice")


def _parts(kinds: Mapping[str, Kind]) -> tuple[list[Likelihood], list[list[int]]]:
    """One likelihood for all columns of a kind, and the places of those."""
    parts: list[Likelihood] = []
    specs: list[object] = []
    places: list[list[int]] = []
    for place, (column, kind) in enumerate(kinds.items()):
        spec = LEARNED.get(kind, {"name": kind}) if isinstance(kind, str) else kind
        key = plain(spec) if isinstance(spec, Mapping) else id(spec)
        if key in specs:
            places[specs.index(key)].append(place)
            continue
        try:
            part = table_of_likelihoods().likelihood(spec)
        except ModelError as error:
            raise ModelError(f"column {column!r}: {error}") from None
        if part.allows_missing:
            raise ModelError(f"column {column!r}: {part.name!r} is no kind of one column; NaN may stand in any")
        parts.append(part)
        specs.append(key)
        places.append([place])
    return parts, places
