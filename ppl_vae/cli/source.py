"""The data of a run, remembered in its folder so that later commands need the folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae import data as library
from ppl_vae import models
from ppl_vae.checks import integer
from ppl_vae.containers.table_file import TABLES
from ppl_vae.data.table_frames import table_frame
from ppl_vae.errors import CheckpointError, DataError
from ppl_vae.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ppl_vae.containers import Data
    from ppl_vae.data import Dataset
    from ppl_vae.inference.pair.pair import PairLike
    from ppl_vae.inference.training.pieces import Given
    from ppl_vae.models import VAE

DATA = "data.json"
# Of the one draw that stands for dynamically binarised training data wherever they are not trained on.
TRAIN_DRAW_SEED = 0
# Arguments of load_dataset that have options of their own.
TAKEN = {"name": "--data", "root": "--root", "binarize": "--binarize"}


class Policy(StrEnum):
    """The policies of binarisation for grey values."""

    AUTO = "auto"
    NONE = "none"
    THRESHOLD = "threshold"
    STOCHASTIC = "stochastic"
    DYNAMIC = "dynamic"


class SplitName(StrEnum):
    """The names of the two splits of a data set."""

    TEST = "test"
    TRAIN = "train"


@dataclass(frozen=True)
class DataSource:
    """The arguments of ``load_dataset``, as the user gave them.

    Attributes:
        data: a name, or a path as it was typed.
        binarize: a policy; never "auto".
        root: the folder of a named data set's files, where one was given.
        options: the loader's own.
        column_names: of a table, where they are known.
    """

    data: str
    binarize: str = "none"
    root: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    column_names: Sequence[str] = ()

    def load(self) -> Dataset:
        """Load the data set.

        Raises:
            DataError: the data cannot be read, an option is settled in another way, or the columns of a table are
            others than those that are known.
        """
        for name in self.options:
            if name in TAKEN:
                raise DataError(f"--data-option {name}: {name} is settled by {TAKEN[name]}")
        integer("seed", self.options.get("seed", 0), least=None)
        dataset = library.load_dataset(self.data, root=self.root, binarize=self.binarize, **self.options)  # type: ignore[arg-type]
        self._require_columns(dataset.column_names)
        return dataset

    @property
    def is_table(self) -> bool:
        """Tell whether the data are a table of named columns in a file."""
        return self.data.lower().endswith(TABLES)

    def with_levels(self, levels: Mapping[str, Sequence[str]]) -> DataSource:
        """The same source, whose columns of words have these levels, so that other files are read by them."""
        options = {name: value for name, value in self.options.items() if name != "levels"}
        told = {name: list(words) for name, words in levels.items()}
        return replace(self, options=options | ({"levels": told} if told else {}))

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows of a table's file, and of its test file, as they stand there.

        Raises:
            DataError: a file cannot be used.
        """
        options = {name: self.options[name] for name in ("test", "levels") if name in self.options}
        return table_frame(Path(self.data).expanduser(), columns, **options)  # type: ignore[arg-type]

    def _require_columns(self, found: Sequence[str]) -> None:
        """Refuse a table whose columns have other names, or another order, than those of the run."""
        known = list(self.column_names)
        if known and found and known != list(found):
            pairs = zip_longest(known, found)
            place, (own, other) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise DataError(
                f"{self.data}: expected the {len(known)} columns that the run was trained on, found {other!r} in "
                f"the place of {own!r}, column {place + 1}"
            )

    def write(self, folder: Path) -> None:
        """Write the source into the folder of a run."""
        known = {name: value for name, value in asdict(self).items() if name != "column_names" or value}
        write_json(folder / DATA, known)


def read_source(folder: Path) -> DataSource:
    """Read where the data of a run come from.

    Raises:
        CheckpointError: the folder has no data.json, or it is not one of ours.
    """
    path = folder / DATA
    if not path.exists():
        raise CheckpointError(f"{path}: no such file, so the data of this run are unknown; name them with --data")
    stored = read_json(path)
    try:
        source = DataSource(**stored)
    except TypeError as error:
        raise CheckpointError(f"{path}: not the data of a run ({error})") from None
    texts = [source.data, source.binarize, *([] if source.root is None else [source.root]), *source.column_names]
    if not all(isinstance(text, str) for text in texts) or not isinstance(source.options, dict):
        raise CheckpointError(f"{path}: not the data of a run (a field is of another type)")
    return source


def choose_binarization(asked: str, dataset: Dataset, vae: VAE) -> str:
    """Choose the policy that was asked for; under "auto", dynamic for grey data and a Bernoulli, else none."""
    if asked != Policy.AUTO:
        return str(asked)
    from ppl_vae.models.labelled.quadrants import HiddenPixels

    x = dataset.train.x
    grey = bool(((x != 0) & (x != 1)).any())
    # A likelihood of some pixels alone stands on that of all.
    likelihood = vae.model.likelihood
    if isinstance(likelihood, HiddenPixels):
        likelihood = likelihood.likelihood
    return "dynamic" if grey and isinstance(likelihood, models.BernoulliLikelihood) else "none"


def split_data(dataset: Dataset, split: str) -> Tensor:
    """Give one split as the model sees it: training data of a dynamic policy are drawn once, under a fixed seed."""
    import torch

    if split == SplitName.TEST:
        return dataset.test.x
    if dataset.binarization != "dynamic":
        return dataset.train.x
    return library.binarize(dataset.train.x, "stochastic", generator=torch.Generator().manual_seed(TRAIN_DRAW_SEED))


def split_given(dataset: Dataset, split: str, vae: PairLike) -> Given:
    """Give one split as functions of a pair take it: x, or x with what the programs cannot do without."""
    from ppl_vae.inference.pair.covariates import Arguments
    from ppl_vae.inference.pair.pair import as_pair
    from ppl_vae.inference.training.pieces import named

    pair, part = as_pair(vae), dataset.test if split == SplitName.TEST else dataset.train
    x = split_data(dataset, split)
    if pair.takes_labels and not pair.needs_labels:
        return x
    return named(replace(part, x=x), Arguments.of(pair))


def with_names(given: Given, dataset: Dataset, split: str) -> Data:
    """The same data, as ``split_given`` gives them or the first of them, with the names of rows and columns."""
    from ppl_vae.containers import Opened

    names = dataset.labels(dataset.test if split == SplitName.TEST else dataset.train)

    def named(x: Tensor) -> Opened:
        return Opened(x, names.taken(slice(len(x))))

    if isinstance(given, Mapping):
        first = next(iter(given))
        return {**given, first: named(given[first])}
    return (named(given[0]), *given[1:]) if isinstance(given, tuple) else named(given)


def open_data(folder: Path, vae: VAE, data: str | None, root: str | None) -> Dataset:
    """Load the data of a run, or other data under its binarisation, or the same data in another place.

    Raises:
        CheckpointError: they are not given and the run does not remember them.
        DataError: they cannot be read, or their columns or words are others than the run's.
    """
    from ppl_vae.inference.training.same_levels import require_same_levels

    dataset = _find_source(folder, vae, data, root).load()
    require_same_levels(vae.model, dataset)
    return dataset


def _find_source(folder: Path, vae: VAE, data: str | None, root: str | None) -> DataSource:
    """The source of the data; another file is read under the run's own options, by its columns and words."""
    if data is None:
        own = read_source(folder)
        return own if root is None else replace(own, root=root)
    other = DataSource(data, root=root)
    if not (folder / DATA).exists():
        return _as_the_model_has_it(other, vae)
    own = read_source(folder)
    # Another file of the same kind is read in the same way; its rows are its own.
    ending = Path(data).suffix.lower()
    alike = (ending and ending == Path(own.data).suffix.lower()) or (own.is_table and other.is_table)
    options = {name: value for name, value in own.options.items() if name != "test"} if alike else {}
    return DataSource(data, own.binarize, root, options, own.column_names)


def _as_the_model_has_it(source: DataSource, vae: VAE) -> DataSource:
    """A table for a run that no command made, whose model alone knows columns and levels."""
    likelihood = vae.model.likelihood
    if not (source.is_table and isinstance(likelihood, models.Columns)):
        return source
    return replace(source.with_levels(likelihood.column_levels), column_names=likelihood.column_names)
