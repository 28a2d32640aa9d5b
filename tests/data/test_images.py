from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl_vae.data.image_file import read_image
from ppl_vae.data.image_folder import load_image_folder
from ppl_vae.data.split import split_indices
from ppl_vae.errors import DataError

from .builders import grey, image_bytes, write

COLOUR = grey(3, 6, 4).transpose(1, 2, 0)


def test_grey_and_colour_are_read_exactly(tmp_path: Path) -> None:
    pixels = grey(1, 6, 4)[0]
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", image_bytes(pixels))), pixels)
    np.testing.assert_array_equal(read_image(write(tmp_path / "b.png", image_bytes(COLOUR))), COLOUR)


@pytest.mark.parametrize(("mode", "dimensions"), [("1", 2), ("LA", 2), ("P", 3), ("RGBA", 3)])
def test_other_modes_become_grey_or_colour(mode: str, dimensions: int, tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 4), 255, np.uint8)).convert(mode).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.ndim == dimensions
    np.testing.assert_array_equal(pixels, 255)


def test_size_cuts_the_middle_square(tmp_path: Path) -> None:
    pixels = np.zeros((8, 4), np.uint8)
    pixels[2:6] = [[10, 20, 30, 40]] * 4
    path = write(tmp_path / "a.png", image_bytes(pixels))
    np.testing.assert_array_equal(read_image(path, 4), pixels[2:6])
    assert read_image(path, 2).shape == (2, 2)


def test_16_bit_images_are_refused_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: expected an image of 8 bits per channel, found .*'I;16"):
        read_image(tmp_path / "deep.png")


def _claiming_png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + image_bytes(grey(1)[0])[33:]


@pytest.mark.parametrize(
    ("side", "message"), [(2**13, "at most 33554432 pixels"), (2**15, "DecompressionBomb"), (2**30, "Bomb")]
)
def test_a_small_file_that_claims_a_huge_image_is_refused(side: int, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.png", _claiming_png(side, side))
    with pytest.raises(DataError, match=f"bomb.png: .*{message}"):
        read_image(path)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    whole = image_bytes(grey(1, 40, 40)[0])
    for content in (whole[:-40], b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        with pytest.raises(DataError, match=r"bad.png: expected an image, found \w+"):
            read_image(write(tmp_path / "bad.png", content))
    with pytest.raises(DataError, match=r"none.png: .* no such file"):
        read_image(tmp_path / "none.png")


def _fill(folder: Path, images: np.ndarray) -> Path:
    for i, pixels in enumerate(images):
        write(folder / f"{i:03d}.png", image_bytes(pixels))
    return folder


def test_a_flat_folder_is_split_in_the_order_of_names(tmp_path: Path) -> None:
    images = grey(10)
    write(_fill(tmp_path, images) / "notes.txt", b"passed over")
    write(tmp_path / ".hidden.png", b"passed over")
    dataset = load_image_folder(tmp_path)
    train, test = split_indices(10, "")
    np.testing.assert_allclose(dataset.train.x[:, 0], images[train] / 255, atol=1e-7)
    np.testing.assert_allclose(dataset.test.x[:, 0], images[test] / 255, atol=1e-7)
    assert dataset.train.y is None


def test_one_coloured_image_makes_all_coloured(tmp_path: Path) -> None:
    images = grey(4, 6, 4)
    write(_fill(tmp_path, images) / "zzz.png", image_bytes(COLOUR))
    dataset = load_image_folder(tmp_path)
    assert dataset.event_shape == (3, 6, 4)
    everything = np.concatenate([dataset.train.x, dataset.test.x])
    order = np.concatenate(split_indices(5, ""))
    expected = np.concatenate([np.repeat(images[:, None], 3, 1), COLOUR.transpose(2, 0, 1)[None]])
    np.testing.assert_allclose(everything, expected[order] / 255, atol=1e-7)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    _fill(tmp_path / "dogs", np.full((3, 4, 4), 200, np.uint8))
    _fill(tmp_path / "cats", np.full((3, 4, 4), 100, np.uint8))
    dataset = load_image_folder(tmp_path)
    assert "labels in order: cats, dogs" in dataset.notes
    for part in (dataset.train, dataset.test):
        assert part.y is not None
        np.testing.assert_allclose(part.x[:, 0, 0, 0] * 255, 100 + 100 * part.y.numpy(), rtol=1e-6)


def test_folders_train_and_test_are_the_splits(tmp_path: Path) -> None:
    for split, shade in (("train", 50), ("test", 150)):
        for i, name in enumerate(("a", "b")):
            _fill(tmp_path / split / name, np.full((2, 4, 4), shade + i, np.uint8))
    dataset = load_image_folder(tmp_path)
    assert (dataset.train.x[:, 0, 0, 0] * 255).round().tolist() == [50, 50, 51, 51]
    assert (dataset.test.x[:, 0, 0, 0] * 255).round().tolist() == [150, 150, 151, 151]
    assert dataset.test.y is not None
    assert dataset.test.y.tolist() == [0, 0, 1, 1]
    (tmp_path / "test" / "b").rename(tmp_path / "test" / "c")
    with pytest.raises(DataError, match="same classes in train and test, found a, b and a, c"):
        load_image_folder(tmp_path)


def test_limit_draws_from_all_classes_and_is_noted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _fill(tmp_path / name, grey(20))
    dataset = load_image_folder(tmp_path, limit=20)
    assert len(dataset.train) + len(dataset.test) == 20
    assert dataset.train.y is not None
    assert dataset.train.y.unique().tolist() == [0, 1]
    assert dataset.notes[0] == "20 of 40 images, drawn at random under the fixed seed 0"


def test_unequal_sizes_are_named_and_resized(tmp_path: Path) -> None:
    _fill(tmp_path, grey(3, 6, 4))
    write(tmp_path / "odd.png", image_bytes(grey(1, 8, 9)[0]))
    with pytest.raises(DataError, match=r"000.png is 4x6, .*odd.png is 9x8: .*size="):
        load_image_folder(tmp_path)
    assert load_image_folder(tmp_path, size=5).event_shape == (1, 5, 5)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 2.5}, {"size": 10**6}, {"limit": 0}, {"limit": "9"}])
def test_options_out_of_range(options: dict[str, Any], tmp_path: Path) -> None:
    (name,) = options
    with pytest.raises(DataError, match=f"{name}: expected a whole number .*above 0"):
        load_image_folder(_fill(tmp_path, grey(3)), **options)


def test_layouts_of_no_clear_meaning(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected images \(.bmp, .*\), found none"):
        load_image_folder(tmp_path)
    _fill(tmp_path / "a", grey(2))
    _fill(tmp_path, grey(2))
    with pytest.raises(DataError, match=r"found both 000.png and the folder a"):
        load_image_folder(tmp_path)
