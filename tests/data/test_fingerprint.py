from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.containers import rows
from ppl_vae.data import fingerprint
from ppl_vae.errors import DataError

X = torch.arange(12, dtype=torch.float32).reshape(3, 4)


def test_it_is_the_sha256_of_dtype_shape_and_bytes() -> None:
    content = b"torch.float32 (3, 4) " + np.arange(12, dtype=np.float32).tobytes()
    assert fingerprint(X) == hashlib.sha256(content).hexdigest()


def test_equal_tensors_agree_whatever_their_layout() -> None:
    assert fingerprint(X.T.contiguous().T) == fingerprint(X)
    assert fingerprint(torch.stack([X, X], 1)[:, 1]) == fingerprint(X)
    assert fingerprint(X.clone().requires_grad_()) == fingerprint(X)


def test_value_shape_and_dtype_all_count() -> None:
    others = [X + 0.0, X.reshape(4, 3), X.double(), X.int(), X[:2], X.flip(0), torch.nextafter(X, X + 1)]
    assert [fingerprint(other) == fingerprint(X) for other in others] == [True] + [False] * 6


@pytest.mark.parametrize("x", [torch.tensor(1.0), torch.zeros(0, 3), torch.ones(2, dtype=torch.bfloat16)])
def test_scalars_empty_tensors_and_other_dtypes(x: torch.Tensor) -> None:
    assert len(fingerprint(x)) == 64
    assert fingerprint(x) == fingerprint(x.clone())


def test_bools_too() -> None:
    assert fingerprint(torch.tensor([True, False])) != fingerprint(torch.tensor([True, True]))


def test_arrays_have_the_sum_of_their_tensor_and_the_rest_is_refused() -> None:
    assert fingerprint(X.numpy()[::-1].copy()[::-1]) == fingerprint(X)
    with pytest.raises(DataError, match="to_dense"):
        fingerprint(X.to_sparse())


def test_a_single_number_that_was_expanded_is_that_number():
    """As the parameters of a PyroSample's prior are, dist.Normal(0, 1).expand([1, 1])."""
    assert fingerprint(torch.tensor(2.0).expand(1)) == fingerprint(torch.tensor([2.0]))
    assert fingerprint(torch.tensor(2.0).expand(1, 1)) == fingerprint(torch.tensor([[2.0]]))


def test_an_array_on_disk_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks at once were as large as the file: two gigabytes of a stream that is to take one."""
    monkeypatch.setattr(rows, "BLOCK_NUMBERS", 1 << 14)
    np.save(tmp_path / "x.npy", np.arange(40 << 14, dtype=np.float32).reshape(-1, 64))
    stored = rows.StoredRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    tracemalloc.start()
    try:
        found = fingerprint(stored)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * (4 << 14)
    assert found == fingerprint(stored)
