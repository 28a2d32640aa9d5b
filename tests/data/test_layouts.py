"""Files and folders as others lay them out: the right values, or a note, or a refusal that names the way."""

from __future__ import annotations

import gzip
import io
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl_vae.data import load_dataset
from ppl_vae.errors import DataError

from .builders import CELEBA_NAMES, grey, idx_bytes, image_bytes, npz_bytes, write, write_celeba


def shades(folder: Path, *values: int) -> Path:
    """One grey image of 4x4 pixels for each value, named by it."""
    for value in values:
        write(folder / f"{value:03d}.png", image_bytes(np.full((4, 4), value, np.uint8)))
    return folder


def found(x) -> list[int]:
    return sorted((x[:, 0, 0, 0] * 255).round().int().tolist())


def test_images_below_their_class_count_as_its(tmp_path: Path) -> None:
    shades(tmp_path / "cats", 1, 2)
    shades(tmp_path / "cats" / "indoors" / "old", 3, 4)
    shades(tmp_path / "dogs" / "big", 101, 102, 103)
    dataset = load_dataset(tmp_path)
    for part in (dataset.train, dataset.test):
        assert ((part.x[:, 0, 0, 0] * 255 > 50).int() == part.y).all()
    assert sorted(found(dataset.train.x) + found(dataset.test.x)) == [1, 2, 3, 4, 101, 102, 103]
    assert any(note.startswith("5 images lie in a folder below") for note in dataset.notes)
    assert "labels in order: cats, dogs" in dataset.notes


@pytest.mark.parametrize(
    ("folders", "train", "test", "note"),
    [
        (("train", "val"), [1, 2], [3, 4], "the validation images are the test split"),
        (("Training", "Testing"), [1, 2], [3, 4], None),
        (("train", "test", "valid"), [1, 2, 5, 6], [3, 4], "the validation images are in train"),
    ],
)
def test_folders_with_names_of_splits_are_no_classes(folders, train, test, note, tmp_path: Path) -> None:
    for i, name in enumerate(folders):
        shades(tmp_path / name, 2 * i + 1, 2 * i + 2)
    dataset = load_dataset(tmp_path)
    assert (found(dataset.train.x), found(dataset.test.x)) == (train, test)
    assert dataset.train.y is None
    assert note is None or note in dataset.notes


def test_classes_inside_splits(tmp_path: Path) -> None:
    for split, shade in (("train", 1), ("val", 3)):
        shades(tmp_path / split / "a", shade)
        shades(tmp_path / split / "b", shade + 1)
    dataset = load_dataset(tmp_path)
    assert (dataset.train.y.tolist(), dataset.test.y.tolist()) == ([0, 1], [0, 1])


def test_a_train_among_cars_is_a_class(tmp_path: Path) -> None:
    shades(tmp_path / "train", 1, 2)
    shades(tmp_path / "car", 3, 4)
    assert "labels in order: car, train" in load_dataset(tmp_path).notes


def test_splits_with_something_beside_them_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "more"):
        shades(tmp_path / name, 1, 2)
    with pytest.raises(DataError, match="test and train to be the splits and nothing beside, found more"):
        load_dataset(tmp_path)


def test_what_is_not_read_of_images_is_noted(tmp_path: Path) -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    write(tmp_path / "clear.png", image_bytes(clear))
    shades(tmp_path, 7, 8)
    frames = [Image.fromarray(np.full((4, 4), i, np.uint8)) for i in (1, 200)]
    frames[0].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[1:])
    write(tmp_path / "labels.txt", b"1 2 3")
    notes = load_dataset(tmp_path).notes
    for start in ("1 images have transparency", "1 files have several frames", "1 files were passed over"):
        assert any(note.startswith(start) for note in notes)


def test_a_photograph_taken_upright_is_upright(tmp_path: Path) -> None:
    upright = np.zeros((8, 4), np.uint8)
    upright[0] = 255
    lying = Image.fromarray(np.rot90(upright))
    tag = Image.Exif()
    tag[0x0112] = 6
    for i in range(2):
        lying.save(tmp_path / f"{i}.png", exif=tag)
    x = load_dataset(tmp_path).train.x
    np.testing.assert_allclose(x[0, 0], upright / 255)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_16_bits_a_channel_are_refused_with_the_way(colour: bool, tmp_path: Path) -> None:
    """Of colour Pillow would drop the lower byte without a word."""
    path = write(tmp_path / "deep.png", deep_png(colour))
    with pytest.raises(DataError, match=r"8 bits per channel.*65535.*\.npy"):
        load_dataset(path.parent)


def deep_png(colour: bool) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    channels = 3 if colour else 1
    row = b"\0" + struct.pack(f">{4 * channels}H", *range(300, 300 + 4 * channels))
    head = struct.pack(">IIBBBBB", 4, 4, 16, 2 if colour else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    )


def test_labels_beside_an_emnist_file_and_its_images_upright(tmp_path: Path) -> None:
    images, labels = grey(10, 6, 6), np.arange(1, 11, dtype=np.uint8)
    path = tmp_path / "emnist-letters-train-images-idx3-ubyte.gz"
    write(path, gzip.compress(idx_bytes(images.transpose(0, 2, 1))))
    assert load_dataset(path).train.y is None
    assert any(
        note.startswith("no labels: emnist-letters-train-labels-idx1-ubyte") for note in load_dataset(path).notes
    )
    write(tmp_path / "emnist-letters-train-labels-idx1-ubyte", idx_bytes(labels))
    dataset = load_dataset(path)
    for part in (dataset.train, dataset.test):
        np.testing.assert_allclose(part.x[:, 0], images[part.y.numpy() - 1] / 255, atol=1e-7)
    write(tmp_path / "emnist-letters-train-labels-idx1-ubyte", idx_bytes(labels[:-1]))
    with pytest.raises(DataError, match="9 labels for 10 data"):
        load_dataset(path)


@pytest.mark.parametrize("several", [False, True])
def test_medmnist(several: bool, tmp_path: Path) -> None:
    images = {split: grey(n, 5, 5, seed=n) for split, n in (("train", 6), ("val", 3), ("test", 4))}
    labels = {
        s: (np.arange(3 * len(x)).reshape(-1, 3) % 2 if several else np.arange(len(x))[:, None])
        for s, x in images.items()
    }
    arrays = {f"{s}_images": x for s, x in images.items()} | {f"{s}_labels": y for s, y in labels.items()}
    dataset = load_dataset(write(tmp_path / "pathmnist.npz", npz_bytes(**arrays)))
    expected = np.concatenate([images["train"], images["val"]]) / 255
    np.testing.assert_allclose(dataset.train.x[:, 0], expected, atol=1e-7)
    np.testing.assert_allclose(dataset.test.x[:, 0], images["test"] / 255, atol=1e-7)
    kept = dataset.test.factors if several else dataset.test.y[:, None]
    np.testing.assert_array_equal(kept, labels["test"])
    assert (dataset.train.y is None) is several
    assert "the validation images are in train" in dataset.notes


def test_arrays_that_are_not_used_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", npz_bytes(x=grey(), labels=np.arange(12), x_val=grey()))
    assert "not used: labels, x_val" in load_dataset(path).notes


def test_channels_last_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", npz_bytes(x=np.stack([grey()] * 3, axis=3)))
    dataset = load_dataset(path)
    assert dataset.event_shape == (3, 5, 4)
    assert any("channels" in note for note in dataset.notes)


def test_kaggles_celeba(tmp_path: Path) -> None:
    theirs = load_dataset("celeba", root=write_celeba(tmp_path / "theirs"), size=4)
    kaggle = write_celeba(tmp_path / "kaggle")
    table = (kaggle / "list_attr_celeba.txt").read_text().split("\n")
    (kaggle / "list_attr_celeba.txt").unlink()
    rows = [",".join(line.split()) for line in table[2:] if line.strip()]
    write(kaggle / "list_attr_celeba.csv", "\n".join([",".join(("image_id", *CELEBA_NAMES)), *rows]).encode())
    images = kaggle / "img_align_celeba"
    images.rename(kaggle / "inner")
    images.mkdir()
    (kaggle / "inner").rename(images / "img_align_celeba")
    dataset = load_dataset("celeba", root=kaggle, size=4)
    assert dataset.factor_names == theirs.factor_names
    assert dataset.train.x.equal(theirs.train.x)
    assert dataset.train.factors.equal(theirs.train.factors)
    codes = "\n".join(["image_id,partition", *(f"{i + 1:06d}.jpg,{code}" for i, code in enumerate("20100212"))])
    write(kaggle / "list_eval_partition.csv", codes.encode())
    dataset = load_dataset("celeba", root=kaggle, size=4)
    assert (len(dataset.train), len(dataset.test)) == (5, 3)
    write(kaggle / "list_attr_celeba.csv", b"name,Smiling\n000001.jpg,1\n")
    with pytest.raises(DataError, match="'image_id'"):
        load_dataset("celeba", root=kaggle, size=4)


def test_a_download_that_fails_is_one_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setattr("ppl_vae.data.mnist.cache_folder", lambda name: tmp_path / name)
    with pytest.raises(DataError, match="root= or PPL_VAE_DATA") as refusal:
        load_dataset("mnist", mirrors=["http://127.0.0.1:9/none"])
    shown = "".join(traceback.format_exception(refusal.value))
    assert shown.count("Traceback") == 1


def test_a_variable_that_names_no_folder_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "nowhere"))
    for name in ("mnist", "celeba", "dsprites"):
        with pytest.raises(DataError, match="PPL_VAE_DATA: expected the name of a folder"):
            load_dataset(name)


@pytest.mark.slow
def test_a_folder_of_small_files_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """Forty black images of a thousand by a thousand, one in colour: 120 MB of pixels in 15 KB, none decoded."""
    black = image_bytes(np.zeros((1000, 1000), bool))
    for i in range(40):
        write(tmp_path / f"{i:02d}.png", black)
    write(tmp_path / "zz.png", image_bytes(np.zeros((1000, 1000, 3), np.uint8)))
    with pytest.raises(DataError, match="claim to hold 123000000"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, size=8).event_shape == (3, 8, 8)


@pytest.mark.slow
def test_arrays_are_judged_together(tmp_path: Path) -> None:
    """Two members of 40 MB of zeros, each below the limit by itself."""
    stream = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (40, 2**20)})
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x_train.npy", "x_test.npy"):
            with archive.open(name, "w") as member:
                member.write(header.getvalue())
                for _ in range(40):
                    member.write(bytes(2**20))
    with pytest.raises(DataError, match="decompression bomb"):
        load_dataset(write(tmp_path / "a.npz", stream.getvalue()))


def test_names_of_files_are_shown_in_one_bounded_line(tmp_path: Path) -> None:
    name = "red\x1b[31m\nnext.png"
    write(tmp_path / name, b"no image")
    with pytest.raises(DataError) as refusal:
        load_dataset(tmp_path)
    assert str(refusal.value).isprintable()
    assert r"red\x1b[31m\nnext.png" in str(refusal.value)
    with pytest.raises(DataError) as refusal:
        load_dataset(
            write(tmp_path / "many.npz", npz_bytes(**{f"array_{'z' * 40}_{i}": np.ones(1) for i in range(300)}))
        )
    assert len(str(refusal.value)) < 2100
