from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data.locations import cache_folder
from ppl_vae.data.mnist import load_fashion_mnist, load_mnist
from ppl_vae.errors import DataError

from .builders import MNIST_FILES, grey, idx_bytes, mnist_contents, publish, write, write_mnist


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_root_holds_the_files_or_stands_above_them(below: str, zipped: bool, tmp_path: Path) -> None:
    write_mnist(tmp_path / below, zipped=zipped)
    dataset = load_mnist(root=tmp_path)
    np.testing.assert_allclose(dataset.train.x[:, 0], grey(6, 28, 28) / 255, atol=1e-7)
    np.testing.assert_allclose(dataset.test.x[:, 0], grey(3, 28, 28, seed=1) / 255, atol=1e-7)
    assert dataset.train.y is not None
    assert dataset.train.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.event_shape == (1, 28, 28)


def test_the_notes_say_whether_the_files_are_canonical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = write_mnist(tmp_path)
    (note,) = load_mnist(root=tmp_path).notes
    assert note.startswith("checksums: not among the canonical mnist's known ones: train-images-idx3-ubyte.gz, ")
    publish(monkeypatch, contents)
    (note,) = load_mnist(root=tmp_path).notes
    assert note == "checksums: all four files are those of the canonical mnist"


def test_another_data_sets_files_and_swapped_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = write_mnist(tmp_path, zipped=False)
    publish(monkeypatch, contents)
    with pytest.raises(
        DataError, match=r"expected fashion-mnist/train-im.*, found \(by its checksum\) mnist/train-im"
    ):
        load_fashion_mnist(root=tmp_path)
    for name, other in zip(MNIST_FILES, MNIST_FILES[2:] + MNIST_FILES[:2], strict=True):
        write(tmp_path / name, contents[other])
    with pytest.raises(
        DataError, match=r"expected mnist/train-images.*found \(by its checksum\) mnist/t10k-images"
    ):
        load_mnist(root=tmp_path)


def test_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(cache_folder("mnist"))
    assert "cache" in load_mnist().source
    write_mnist(tmp_path / "environment" / "mnist")
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "environment"))
    assert "environment" in load_mnist().source
    write_mnist(tmp_path / "root")
    assert load_mnist(root=tmp_path / "root").source == f"IDX files in {tmp_path / 'root'}"


def test_a_root_without_the_files_never_downloads(tmp_path: Path) -> None:
    write_mnist(cache_folder("mnist"))
    write(tmp_path / MNIST_FILES[0], mnist_contents()[MNIST_FILES[0]])
    with pytest.raises(
        DataError, match=r"expected the files train-images-idx3-ubyte\[.gz\], .*found no folder with"
    ):
        load_mnist(root=tmp_path, mirrors=["http://127.0.0.1:9"])


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        (1, np.zeros(5, np.uint8), "train-images.* and .*train-labels.*: .*found 6 images and 5 labels"),
        (1, np.zeros((6, 1), np.uint8), r"expected bytes \[N\], found uint8 \(6, 1\)"),
        (0, np.zeros((6, 784), np.uint8), r"expected bytes \[N, H, W\], found uint8 \(6, 784\)"),
        (0, np.zeros((6, 28, 28), np.float32), "found float32"),
    ],
)
def test_files_that_do_not_fit(file: int, array: np.ndarray, message: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped=False)
    write(tmp_path / MNIST_FILES[file], idx_bytes(array))
    with pytest.raises(DataError, match=message):
        load_mnist(root=tmp_path)


def test_the_real_mnist(real_root: Path) -> None:
    dataset = load_mnist(root=real_root)
    assert dataset.train.x.shape == (60_000, 1, 28, 28)
    assert dataset.test.x.shape == (10_000, 1, 28, 28)
    assert dataset.notes == ("checksums: all four files are those of the canonical mnist",)
    # The mean and standard deviation that every tutorial normalises with.
    assert round(dataset.train.x.double().mean().item(), 4) == 0.1307
    assert round(dataset.train.x.double().std().item(), 4) == 0.3081
    assert dataset.train.y is not None
    assert dataset.train.y.bincount().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
