from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppl_vae.data.arrays import load_idx, load_npy, load_npz
from ppl_vae.data.split import SPLIT_NOTE, split_indices
from ppl_vae.errors import DataError

from .builders import Trap, grey, idx_bytes, npy_bytes, npz_bytes, write


def test_bytes_are_divided_by_255_and_split_90_10(tmp_path: Path) -> None:
    images = grey(20)
    dataset = load_npz(write(tmp_path / "scans.npz", npz_bytes(x=images, y=np.arange(20) * 3)))
    train, test = split_indices(20, "")
    np.testing.assert_allclose(dataset.train.x[:, 0], images[train] / 255, atol=1e-7)
    np.testing.assert_allclose(dataset.test.x[:, 0], images[test] / 255, atol=1e-7)
    assert dataset.train.y is not None
    np.testing.assert_array_equal(dataset.train.y, train * 3)
    assert (dataset.name, dataset.event_shape) == ("scans.npz", (1, 5, 4))
    assert dataset.notes == ("bytes divided by 255", SPLIT_NOTE)


def test_a_single_array_may_have_any_name(tmp_path: Path) -> None:
    named = load_npz(write(tmp_path / "a.npz", npz_bytes(x=grey())))
    other = load_npz(write(tmp_path / "b.npz", npz_bytes(whatever=grey())))
    assert other.train.x.equal(named.train.x)


def test_bytes_of_zeros_and_ones_are_not_divided(tmp_path: Path) -> None:
    masks = grey() // 128
    dataset = load_npy(write(tmp_path / "masks.npy", npy_bytes(masks)))
    assert dataset.train.x.unique().tolist() == [0.0, 1.0]
    assert "bytes without a value above 1, taken as they are" in dataset.notes


def test_named_splits_are_kept_and_share_their_divisor(tmp_path: Path) -> None:
    parts = {
        "x_train": grey(4),
        "x_test": np.ones((3, 5, 4), np.uint8),
        "y_train": np.arange(4),
        "y_test": np.arange(3),
    }
    parts["factors_train"], parts["factors_test"] = np.eye(4)[:, :2], np.eye(3)[:, :2]
    dataset = load_npz(write(tmp_path / "a.npz", npz_bytes(**parts)))
    np.testing.assert_allclose(dataset.train.x[:, 0], parts["x_train"] / 255, atol=1e-7)
    np.testing.assert_allclose(dataset.test.x, 1 / 255, atol=1e-7)
    assert dataset.test.factors is not None
    np.testing.assert_array_equal(dataset.test.factors, parts["factors_test"])
    assert dataset.factor_names == ("factor_0", "factor_1")
    assert SPLIT_NOTE not in dataset.notes


@pytest.mark.parametrize(
    ("shape", "event"),
    [
        ((6, 7), (7,)),
        ((6, 5, 4), (1, 5, 4)),
        ((6, 3, 5, 4), (3, 5, 4)),
        ((6, 5, 4, 3), (3, 5, 4)),
        ((6, 3, 5, 3), (3, 5, 3)),
        ((6, 16, 5, 5), (16, 5, 5)),
        ((6, 2, 3, 4, 5), (2, 3, 4, 5)),
    ],
)
def test_layout_rule(shape: tuple[int, ...], event: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).random(shape)
    dataset = load_npy(write(tmp_path / "a.npy", npy_bytes(x)))
    assert dataset.event_shape == event
    train, _ = split_indices(6, "")
    expected = np.moveaxis(x, 3, 1) if event == (3, 5, 4) and shape[3] == 3 else x.reshape(6, *event)
    np.testing.assert_allclose(dataset.train.x, expected[train], atol=1e-7)
    assert dataset.train.x.is_contiguous()


@pytest.mark.parametrize("dtype", ["bool", "i1", "i8", "u2", ">f4", ">i2", "f2", "f8"])
def test_other_number_types_are_taken_as_they_are(dtype: str, tmp_path: Path) -> None:
    x = (grey(6) // 128).astype(dtype)
    dataset = load_npy(write(tmp_path / "a.npy", npy_bytes(np.asfortranarray(x))))
    train, _ = split_indices(6, "")
    np.testing.assert_array_equal(dataset.train.x[:, 0], x[train].astype(float))


def test_real_valued_data_need_to_be_asked_for(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    path = write(tmp_path / "a.npy", npy_bytes(x))
    with pytest.raises(DataError, match=r"a.npy: expected x in \[0, 1\], found values from -.*value_range=None"):
        load_npy(path)
    train, _ = split_indices(20, "")
    np.testing.assert_allclose(load_npy(path, value_range=None).train.x, x[train], rtol=1e-6)
    np.testing.assert_allclose(load_npy(path, value_range=(-9, 9)).train.x, x[train], rtol=1e-6)
    with pytest.raises(DataError, match=r"expected x in \[-9, 1\]"):
        load_npy(path, value_range=(-9, 1))


@pytest.mark.parametrize("bounds", [(1, 0), (0,), "ab", (0, float("inf")), 3])
def test_bounds_that_are_none(bounds: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"value_range: expected \(low, high\) or None, found"):
        load_npy(tmp_path / "a.npy", value_range=bounds)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_counted_and_located(value: float, tmp_path: Path) -> None:
    x = np.zeros((5, 2, 2))
    x[3, 1, 0] = x[4, 0, 0] = value
    path = write(tmp_path / "a.npy", npy_bytes(x))
    with pytest.raises(DataError, match=r"a.npy: x: .* found 2 that are .* the first at index \(3, 0, 1, 0\)"):
        load_npy(path, value_range=None)


X = np.zeros((6, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": np.arange(5)}, "found 5 labels for 6 data"),
        ({"x": X, "y": np.zeros(6)}, r"expected y as whole numbers \[N\], found dtype float64"),
        ({"x": X, "y": np.zeros((6, 2), int)}, r"shape \(6, 2\)"),
        ({"x": X, "y": np.full(6, 2**64 - 1, np.uint64)}, "expected labels that fit int64"),
        ({"x": X, "factors": np.zeros(6)}, r"expected factors of shape \[N, F\], found \(6,\)"),
        ({"x": X, "factors": np.zeros((7, 2))}, "found 7 for 6 data"),
        ({"x": X, "factors": np.full((6, 2), np.nan)}, "factors: expected finite"),
        ({"x": X[:1]}, "expected at least 2 data to split"),
        ({"x": X[:0]}, r"expected a shape of positive whole numbers, found \(0, 4\)"),
        ({"x": X[:, 0]}, r"found \(6,\)"),
        ({"a": X, "b": X}, "or a single array, found a, b"),
        ({}, "found nothing"),
        ({"x": np.array(["a", "b"])}, "no objects, text or records.*<U1"),
        ({"x": np.zeros(4, complex)}, "found dtype '<c16'"),
        ({"x_train": X, "x_test": X[:, :3]}, r"found \(6, 4\) and \(6, 3\)"),
        ({"x_train": X, "x_test": X, "factors_train": X}, "found 4 and None"),
    ],
)
def test_what_is_wrong_is_said(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "some.npz", npz_bytes(**arrays))
    with pytest.raises(DataError, match=f"some.npz.*{message}"):
        load_npz(path)


def test_objects_are_refused_without_unpickling(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(pickle.dumps(Trap()))
    content = npy_bytes(np.array([Trap(), None]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a.npy: .*no objects.*'\|O'"):
        load_npy(write(tmp_path / "a.npy", content))


def test_an_idx_file_is_a_data_set(tmp_path: Path) -> None:
    images = grey(20)
    dataset = load_idx(write(tmp_path / "a.idx", idx_bytes(images)))
    np.testing.assert_allclose(dataset.test.x[:, 0], images[split_indices(20, "")[1]] / 255, atol=1e-7)


def _zip(compression: int, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("x.npy", content)
    return stream.getvalue()


def test_zip_compressions_without_a_bound_are_refused(tmp_path: Path) -> None:
    content = npy_bytes(X)
    assert load_npz(write(tmp_path / "a.npz", _zip(zipfile.ZIP_DEFLATED, content))).event_shape == (4,)
    with pytest.raises(DataError, match="expected 'x' stored or deflated, found zip compression 12"):
        load_npz(write(tmp_path / "a.npz", _zip(zipfile.ZIP_BZIP2, content)))


def test_a_zip_directory_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    content = bytearray(npz_bytes(x=X))
    size = content.rindex(b"PK\x01\x02") + 24
    content[size : size + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(DataError, match=r"a.npz\[x\]: expected data, found 73 bytes that claim to hold 2147483648"):
        load_npz(write(tmp_path / "a.npz", bytes(content)))


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(npz_bytes(x=X))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match=r"expected an .npz archive, found RuntimeError: .*encrypted"):
        load_npz(write(tmp_path / "a.npz", bytes(content)))


@pytest.mark.slow
def test_an_archive_that_grows_beyond_what_data_do_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1200, 512, 512), dtype=np.uint8))
    assert path.stat().st_size < 400_000
    with pytest.raises(DataError, match=r"bomb\.npz.*a decompression bomb"):
        load_npz(path)
