"""Tables by columns: what a data set shows of itself, names of Arrow's tables, types of polars' columns."""

from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import containers
from ppl_vae.arrays import to_tensor
from ppl_vae.errors import DataError
from ppl_vae.models import Columns

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def vae():
    return pv.VAE((3,), 1, likelihood={"name": "gaussian", "sigma": 1.0}, seed=0)


def elbo(data):
    return pv.evaluate(vae(), data).elbo


class HuggingFace:
    """A data set of Hugging Face's, as far as it is read; another format takes the place of a transform."""

    def __init__(self, columns, transform=None, shown=None):
        self.columns, self.transform = columns, transform
        self.column_names = list(columns)
        kind = None if transform is None else "custom"
        self.format = {"type": kind, "columns": shown or self.column_names}

    def with_format(self, kind):
        return HuggingFace(self.columns)

    def __len__(self):
        return len(X)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        whole = {name: values[key] for name, values in self.columns.items()}
        return whole if self.transform is None else self.transform(whole)


def test_a_data_set_is_read_with_its_transform_and_the_columns_that_it_shows():
    doubled = HuggingFace({"x": X}, lambda batch: {"x": [torch.tensor(row) * 2 for row in batch["x"]]})
    assert torch.equal(elbo(doubled), elbo(2 * X))
    assert torch.equal(elbo(HuggingFace({"vector": X, "id": ["a"] * 12}, shown=["vector"])), elbo(X))


def test_a_table_of_arrow_keeps_the_names_of_its_columns():
    """It was taken for an array, so that columns in another order were taken for those of the training data."""
    table = pa.table({name: X[:, i] for i, name in enumerate("abc")})
    model = vae()
    pv.fit(model, table, epochs=1, progress=False)
    assert torch.equal(elbo(table), elbo(X))
    for other in (table.select(["c", "b", "a"]), table.select(["c", "b", "a"]).to_pandas()):
        with pytest.raises(DataError, match="in another order: c, b, a"):
            pv.evaluate(model, other)
    kinds = Columns.from_frame(table, report=None)
    np.testing.assert_array_equal(kinds.coded(table).numpy(), X)


@dataclass
class Kind:
    """A type of polars'."""

    name: str
    categories: object = None

    def is_temporal(self):
        return self.name == "Datetime"

    def __str__(self):
        return self.name


class Series:
    """A series of polars', as far as it is read."""

    def __init__(self, values, dtype):
        self.values, self.dtype, self.to_list = values, dtype, values.tolist

    def __array__(self, dtype=None, copy=None):
        return self.values.to_numpy()


class Polars:
    """A frame of polars', as far as it is read; times beside numbers become microseconds in its arrays."""

    def __init__(self, frame, **kinds):
        self.frame, self.columns = frame, list(frame.columns)
        self.dtypes = [Kind(*kinds.get(name, ("Float64",))) for name in self.columns]

    def to_numpy(self):
        return self.frame.to_numpy(np.float64)

    def __array__(self, dtype=None, copy=None):
        return self.to_numpy()

    def __getitem__(self, name):
        kind = self.dtypes[self.columns.index(name)]
        return Series(self.frame[name], kind)

    def drop(self, *columns):
        return Polars(self.frame.drop(columns=list(*columns)))

    def collect_schema(self):
        raise AssertionError


def test_times_of_polars_are_no_numbers():
    frame = pd.DataFrame({"a": X[:, 0], "when": np.arange(12) + 1.6e15})
    assert to_tensor(Polars(frame)).shape == (12, 2)
    with pytest.raises(DataError, match="found column 'when' of dtype Datetime; leave it out"):
        to_tensor(Polars(frame, when=("Datetime",)))


def test_an_enum_of_polars_keeps_all_levels_and_their_order():
    levels = SimpleNamespace(to_list=lambda: ["low", "mid", "high"])
    frame = Polars(pd.DataFrame({"dose": ["high", "low", None]}), dose=("Enum", levels))
    kinds = Columns.from_frame(frame, report=None)
    assert kinds.config["kinds"] == [["dose", {"name": "ordinal", "levels": ["low", "mid", "high"]}]]
    np.testing.assert_array_equal(kinds.coded(frame)[:, 0], [2, 0, np.nan])


def test_a_lazy_frame_is_computed():
    lazy = SimpleNamespace(collect=lambda: pd.DataFrame(X), collect_schema=dict)
    assert torch.equal(elbo(lazy), elbo(X))
    assert len(Columns.from_frame(lazy, report=None).column_names) == 3


def test_decimal_numbers_are_numbers(tmp_path):
    prices = pd.DataFrame({"price": [Decimal("1.5"), None, Decimal("2.25")], "n": [0.5, 1.5, 2.5]})
    prices.to_parquet(tmp_path / "t.parquet")
    for frame in (prices, pa.Table.from_pandas(prices), pd.read_parquet(tmp_path / "t.parquet")):
        kinds = Columns.from_frame(frame, report=None)
        np.testing.assert_array_equal(kinds.coded(frame)[:, 0], [1.5, np.nan, 2.25])
    whole = pd.concat([prices] * 8, ignore_index=True)
    whole.to_parquet(tmp_path / "t.parquet")
    assert {1.5, 2.25} < {*pv.load_dataset(tmp_path / "t.parquet").train.x[:, 0].tolist()}
    assert torch.equal(to_tensor(containers.opened(prices.dropna()).x)[:, 0], torch.tensor([1.5, 2.25]).double())


def test_whole_numbers_that_differ_by_less_than_a_rounding_of_their_logarithms():
    """Their choice of a kind ended in a raw ValueError."""
    kinds = Columns.from_frame(pd.DataFrame({"id": [2**53, 2**53 + 4] * 9}), report=None)
    assert kinds.config["kinds"][0][1]["name"] == "gaussian"


def test_a_matrix_that_is_computed_later_and_one_that_is_not_there():
    def annotated(x):
        obs = pd.DataFrame(index=[f"c{i}" for i in range(12)])
        return SimpleNamespace(X=x, obs=obs, obs_names=obs.index, var_names=pd.Index(list("abc")))

    delayed = SimpleNamespace(compute=lambda: scipy.sparse.csr_matrix(X))
    assert torch.equal(elbo(annotated(delayed)), elbo(X))
    with pytest.raises(DataError, match="an AnnData object without X; give a layer"):
        elbo(annotated(None))


def test_covariates_are_columns_of_a_frame_of_polars():
    """``drop`` knows columns by position alone there, so that all such data ended in a raw TypeError."""
    frame = pd.DataFrame(X, columns=list("abc")).assign(age=np.linspace(0, 1, 12))
    options = {
        "covariates": {"age": "continuous"},
        "likelihood": {"name": "gaussian", "sigma": 1.0},
        "latent_dim": 1,
    }
    pair = pv.make("conditional-vae", (3,), **options, seed=0).vae
    expected = pv.evaluate(pair, (X, frame["age"].to_numpy())).elbo
    for data in (Polars(frame), frame, pa.Table.from_pandas(frame)):
        assert torch.equal(pv.evaluate(pair, data).elbo, expected)


def test_codes_are_of_the_one_array_in_a_set():
    expected = vae().encode(X).mean
    for data in (HuggingFace({"vector": X}), xr.Dataset({"counts": (("cell", "gene"), X)})):
        assert torch.equal(vae().encode(data).mean, expected)
