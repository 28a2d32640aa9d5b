from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data.dsprites import FILE_NAME, load_dsprites
from ppl_vae.data.split import split_indices
from ppl_vae.errors import DataError

from .builders import dsprites_arrays, grey, npz_bytes, write, write_dsprites

COUNT = 30  # what write_dsprites writes


def test_images_factors_and_labels(tmp_path: Path) -> None:
    arrays = dsprites_arrays(COUNT)
    dataset = load_dsprites(root=write_dsprites(tmp_path / "d.npz"))
    train, test = split_indices(COUNT, "")
    for part, index in ((dataset.train, train), (dataset.test, test)):
        assert part.y is not None
        assert part.factors is not None
        np.testing.assert_array_equal(part.x[:, 0], arrays["imgs"][index])
        np.testing.assert_array_equal(part.y, arrays["latents_classes"][index, 1])
        np.testing.assert_allclose(part.factors, arrays["latents_values"][index], rtol=1e-6)
    assert dataset.factor_names == ("color", "shape", "scale", "orientation", "posX", "posY")
    assert dataset.binarization == "threshold"


def test_found_in_a_folder_or_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dsprites(tmp_path / "dsprites" / FILE_NAME)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    expected = load_dsprites(root=path).train.x
    assert load_dsprites().train.x.equal(expected)
    assert load_dsprites(root=path.parent).train.x.equal(expected)
    monkeypatch.delenv("PPL_VAE_DATA")
    with pytest.raises(DataError, match="expected root= or PPL_VAE_DATA"):
        load_dsprites()
    with pytest.raises(DataError, match=f"{FILE_NAME}, found none of them"):
        load_dsprites(root=tmp_path / "elsewhere")


def test_limit(tmp_path: Path) -> None:
    dataset = load_dsprites(root=write_dsprites(tmp_path / "d.npz"), limit=10)
    assert (len(dataset.train), len(dataset.test)) == (9, 1)
    assert dataset.notes[0] == "10 of 30 images, drawn at random under the fixed seed 0"


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", npz_bytes(imgs=grey(), other=grey()))
    with pytest.raises(DataError, match=r"expected an array named 'latents_values', found imgs.npy, other.npy"):
        load_dsprites(root=path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"imgs": grey(COUNT, 8, 8)}, "expected imgs of zeros and ones, found the value 255"),
        ({"imgs": np.zeros((COUNT, 8))}, r"expected imgs as uint8 \[N, H, W\], found float64 \(30, 8\)"),
        ({"latents_values": np.zeros((COUNT, 5))}, r"latents_values of shape \(30, 6\), found \(30, 5\)"),
        ({"latents_classes": np.zeros((9, 6), int)}, r"latents_classes of shape \(30, 6\), found \(9, 6\)"),
        ({"latents_classes": np.zeros((COUNT, 6))}, "expected y as whole numbers"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"d.npz: .*{message}"):
        load_dsprites(root=write_dsprites(tmp_path / "d.npz", **changed))
