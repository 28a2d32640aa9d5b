"""Rarer forms of annotated matrices: sums of parts, nullable types, matrices left in a file."""

from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import ppl_vae as pv
from ppl_vae import containers
from ppl_vae.errors import DataError
from ppl_vae.networks import MLP

X = np.random.default_rng(0).poisson(1.5, (6, 4)).astype(np.float32)
NAMES, COLUMNS = [f"p{i}" for i in range(6)], list("abcd")


def nullable(group, name, values, mask, **text):
    column = group.create_group(name)
    column.create_dataset("values", data=values, **text)
    column["mask"] = mask


def stored(path, parts, form="csr"):
    """An .h5ad file whose names are nullable text, as AnnData writes that of pandas 3."""
    text = {"dtype": h5py.string_dtype()}
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": f"{form}_matrix", "shape": X.shape})
        for name, part in zip(("data", "indices", "indptr"), parts, strict=True):
            x[name] = part
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs["_index"] = var.attrs["_index"] = "_index"
        nullable(obs, "_index", np.array(NAMES, object), np.zeros(6, bool), **text)
        nullable(var, "_index", np.array(COLUMNS, object), np.zeros(4, bool), **text)
        nullable(obs, "age", np.arange(6), np.zeros(6, bool))
        nullable(obs, "dose", np.arange(6), np.arange(6) == 2)
        nullable(obs, "site", np.array(list("uvwuvw"), object), np.arange(6) == 1, **text)
        kind = obs.create_group("kind")
        kind["codes"] = np.array([0, 1, -1, 0, 1, 0])
        nullable(kind, "categories", np.array(["b", "t"], object), np.zeros(2, bool), **text)
    return path


def in_two_parts(form):
    """Every value as value - 1 and 1 in the same place, the columns from the last to the first."""
    matrix = X if form == "csr" else X.T
    count, width = matrix.shape
    values = np.stack([matrix[:, ::-1] - 1, np.ones_like(matrix)], -1).reshape(-1)
    places = np.tile(np.repeat(np.arange(width)[::-1], 2), count)
    return values, places, np.arange(0, 2 * matrix.size + 1, 2 * width)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_what_a_file_stores_twice_in_one_place_is_a_sum(form, tmp_path):
    opened = containers.opened(stored(tmp_path / "x.h5ad", in_two_parts(form), form))
    assert torch.equal(opened.x[:], torch.tensor(X))
    assert opened.labels.rows.tolist() == NAMES
    assert opened.labels.axes[0].tolist() == COLUMNS


def test_nullable_columns_of_a_file(tmp_path):
    beside = containers.opened(stored(tmp_path / "x.h5ad", in_two_parts("csr"))).beside
    assert beside["age"].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(beside["dose"], [0, 1, np.nan, 3, 4, 5])
    assert beside["site"].tolist() == ["u", None, "w", "u", "v", "w"]
    assert beside["kind"].tolist() == ["b", "t", None, "b", "t", "b"]


def test_names_in_no_encoding_that_is_known_are_refused(tmp_path):
    path = stored(tmp_path / "x.h5ad", in_two_parts("csr"))
    with h5py.File(path, "a") as file:
        del file["var/_index/mask"]
    with pytest.raises(DataError, match="the names in /var are in no encoding that is known"):
        containers.opened(path)


def test_a_matrix_that_was_left_in_its_file_is_read():
    matrix = SimpleNamespace(to_memory=lambda: scipy.sparse.csr_matrix(X))
    obs = pd.DataFrame(index=NAMES)
    annotated = SimpleNamespace(X=matrix, obs=obs, obs_names=obs.index, var_names=pd.Index(COLUMNS))
    assert torch.equal(containers.opened(annotated).x[:], torch.tensor(X))


def test_a_sparse_matrix_by_keys_is_no_dict_of_arrays():
    settings = {"epochs": 1, "device": "cpu", "progress": False, "compile": False}
    losses = []
    for data in (scipy.sparse.dok_matrix(X), X):
        vae = pv.VAE((4,), 2, network=MLP((3,)), likelihood="poisson", seed=0)
        losses.append(pv.fit(vae, data, **settings).history["loss"].tolist())
    assert losses[0] == losses[1]
