"""An .h5ad file as a data set: x dense with its names, columns of obs beside it, mistakes named."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError
from tests.containers.test_containers import COLUMNS, NAMES, X, h5ad


@pytest.mark.parametrize("encoding", ["array", "csr", "csc"])
def test_x_and_what_stands_beside_it(tmp_path, encoding):
    path = h5ad(tmp_path / "cells.h5ad", X, encoding)
    data = pv.load_dataset(path, labels="kind", covariates=["batch"])
    both = {
        **dict(zip(data.train.names, data.train.x, strict=True)),
        **dict(zip(data.test.names, data.test.x, strict=True)),
    }
    for name, row in zip(NAMES, X, strict=True):
        torch.testing.assert_close(both[name], torch.tensor(row, dtype=torch.float32))
    place = {name: index for index, name in enumerate(NAMES)}
    for part in (data.train, data.test):
        rows = np.array([place[name] for name in part.names])
        assert part.y.tolist() == (rows % 2).tolist()
        assert part.covariates["batch"].tolist() == (rows % 3).tolist()
    assert data.column_names == tuple(COLUMNS)
    assert "kind: 0 = b, 1 = t" in data.notes


def test_what_cannot_be_read_is_named(tmp_path):
    path = h5ad(tmp_path / "cells.h5ad", X, "csr")
    with pytest.raises(DataError, match="covariates: unknown column of obs 'bach'; did you mean 'batch'"):
        pv.load_dataset(path, covariates="bach")
    (tmp_path / "broken.h5ad").write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"broken\.h5ad"):
        pv.load_dataset(tmp_path / "broken.h5ad")


def test_categories_are_numbered_by_given_levels(tmp_path):
    path = h5ad(tmp_path / "cells.h5ad", X, "csr")
    own = pv.load_dataset(path, labels="kind")
    assert own.column_levels == {"kind": ("b", "t")}
    other = pv.load_dataset(path, labels="kind", levels={"kind": ["t", "a", "b"]})
    assert torch.equal(other.train.y, 2 - 2 * own.train.y)
    with pytest.raises(DataError, match=r"column 'kind': 'b' in row .* is none of its levels, which are 't'"):
        pv.load_dataset(path, labels="kind", levels={"kind": ["t"]})
    with pytest.raises(DataError, match="levels: unknown label or covariate 'knd'; did you mean 'kind'"):
        pv.load_dataset(path, labels="kind", levels={"knd": ["t", "b"]})
