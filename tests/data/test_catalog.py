from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl_vae.data import Dataset, list_datasets, load_dataset
from ppl_vae.data.split import split_indices
from ppl_vae.errors import DataError

from .builders import (
    grey,
    idx_bytes,
    image_bytes,
    npy_bytes,
    npz_bytes,
    write,
    write_celeba,
    write_dsprites,
    write_mnist,
)

SMALL: dict[str, dict[str, Any]] = {"faces": {"n": 40, "size": 16}, "sprites": {"n": 40, "size": 16}}
# Not images, and with an image each.
SPECTRA = "image-spectra"
WRITERS = {
    "celeba": lambda root: write_celeba(root / "celeba"),
    "dsprites": lambda root: write_dsprites(root / "d.npz"),
    "fashion-mnist": write_mnist,
    "mnist": write_mnist,
}


def _load(name: str, root: Path) -> Dataset:
    if name not in WRITERS:
        return load_dataset(name, **SMALL.get(name, {}))
    written = WRITERS[name](root)
    return load_dataset(name, root=written if name == "dsprites" else root)


@pytest.mark.parametrize("name", list_datasets())
def test_every_data_set_keeps_the_contract(name: str, tmp_path: Path) -> None:
    dataset = _load(name, tmp_path)
    assert dataset.name == name
    assert dataset.source
    for part in (dataset.train, dataset.test):
        assert part.x.dtype == torch.float32
        assert part.x.shape == (len(part), *dataset.event_shape)
        assert part.x.isfinite().all()
        assert name == SPECTRA or 0 <= part.x.min() <= part.x.max() <= 1
        assert all(len(c) == len(part) and c.dtype == torch.float32 for c in part.covariates.values())
        assert part.x.is_contiguous()
        if part.y is not None:
            assert (part.y.dtype, part.y.shape) == (torch.int64, (len(part),))
        if part.factors is not None:
            assert part.factors.shape == (len(part), len(dataset.factor_names))
            assert part.factors.dtype == torch.float32
            assert part.factors.isfinite().all()
    assert (dataset.train.factors is None) == (dataset.factor_names == ())
    again = _load(name, tmp_path)
    assert again.train.x.equal(dataset.train.x)
    assert again.test.x.equal(dataset.test.x)


def test_digits_are_all_there() -> None:
    dataset = load_dataset("digits")
    assert (len(dataset.train), len(dataset.test)) == (1617, 180)
    # 561718 is the sum of all of scikit-learn's pixels.
    assert 16 * (dataset.train.x.double().sum() + dataset.test.x.double().sum()) == 561718
    assert dataset.test.y is not None
    assert dataset.test.y.unique().tolist() == list(range(10))


def test_four_small_images_differ_plainly() -> None:
    dataset = load_dataset("four-small-images")
    assert dataset.train.x.shape == (4, 1, 3, 3)
    assert dataset.test.x.equal(dataset.train.x)
    flat = dataset.train.x.flatten(1)
    distances = torch.cdist(flat, flat) + 9 * torch.eye(4)
    assert distances.min() > 1


def test_the_split_is_a_partition_that_no_seed_moves() -> None:
    for count in (2, 3, 10, 1797):
        train, test = split_indices(count, "")
        assert sorted([*train, *test]) == list(range(count))
        assert len(test) == max(1, round(count / 10))
    # Pinned: a test set that moves with a version of NumPy would make results incomparable.
    assert split_indices(30, "")[1].tolist() == [2, 11, 26]
    assert load_dataset("digits", seed=5).test.x.equal(load_dataset("digits").test.x)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.npz", npz_bytes(x=grey())),
        ("a.NPY", npy_bytes(grey())),
        ("a.idx", idx_bytes(grey())),
        ("a.idx.gz", gzip.compress(idx_bytes(grey()), mtime=0)),
        ("some-images-idx3-ubyte", idx_bytes(grey())),
        ("some-images-idx3-ubyte.gz", gzip.compress(idx_bytes(grey()), mtime=0)),
    ],
    # Content would be part of a test's name, and two processes must give it the same.
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_path_is_loaded_by_its_ending(file: str, content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / file, content)
    dataset = load_dataset(str(path), binarize="threshold")
    expected = torch.from_numpy(grey()[split_indices(12, "")[0]] >= 128).float()
    assert dataset.train.x[:, 0].equal(expected)
    assert load_dataset(path).event_shape == (1, 5, 4)


def test_a_folder_is_loaded_as_images(tmp_path: Path) -> None:
    for i, pixels in enumerate(grey(5)):
        write(tmp_path / f"{i}.png", image_bytes(pixels))
    assert load_dataset(tmp_path, size=3).event_shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, r"unknown data set 'digit'; did you mean 'digits'\? Known: celeba, digits, "),
        ("nope.npz", {}, "nope.npz: expected an .npz archive, found no such file"),
        (
            "no/such/folder",
            {},
            "no/such/folder: expected a file or a folder of images, found nothing there",
        ),
        ("scan.tar", {}, "scan.tar: expected a file or a folder"),
        (Path("digit"), {}, "digit: expected a file or a folder"),
        ("x" * 5000, {}, "expected a file or a folder of images, found OSError"),
        ("digits", {"binarize": "dynamics"}, r"unknown binarization 'dynamics'; did you mean 'dynamic'\?"),
        ("digits", {"size": 8}, "data set 'digits': it takes no option 'size'"),
        ("digits", {"root": "."}, "data set 'digits': it takes no option 'root'"),
        (
            "celeba",
            {"sise": 8},
            r"data set 'celeba': unknown option 'sise'; did you mean 'size'\? Known: limit, root",
        ),
    ],
)
def test_what_is_wrong_is_said(name: str | Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(name, **options)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.doc: expected a folder of images or a file ending in .npz, .npy, "):
        load_dataset(write(tmp_path / "a.doc", b"1,2"))


def test_real_valued_data_cannot_be_binarized(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", npy_bytes(grey().astype(float) - 100))
    assert load_dataset(path, value_range=None).train.x.min() == -100
    with pytest.raises(DataError, match=r"binarize: expected values in \[0, 1\], found"):
        load_dataset(path, value_range=None, binarize="dynamic")


def test_the_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.npy").write_bytes(npy_bytes(np.zeros((20, 4), np.float32)))
    assert load_dataset("~/mine.npy").event_shape == (4,)


@pytest.mark.parametrize("name", [None, 3, np.zeros((5, 4))])
def test_what_is_neither_a_name_nor_a_path_is_refused(name):
    with pytest.raises(DataError, match="loaded by its name or a path, got"):
        load_dataset(name)
