from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl_vae.data import load_dataset, pad_sequences
from ppl_vae.data.split import split_indices
from ppl_vae.errors import DataError

from .builders import npy_bytes, npz_bytes, write

N, T, D = 20, 5, 3
LENGTHS = np.arange(N) % T + 1
AFTER = np.arange(T) >= LENGTHS[:, None]


def binary(seed: int = 0) -> np.ndarray:
    """Zeros and ones [N, T, D] as bytes."""
    return np.random.default_rng(seed).integers(0, 2, (N, T, D), dtype=np.uint8)


def loaded(tmp_path: Path, **arrays: Any) -> Any:
    return load_dataset(write(tmp_path / "a.npz", npz_bytes(**arrays)))


def test_frames_after_the_end_become_nan(tmp_path: Path) -> None:
    x = binary()
    dataset = loaded(tmp_path, x=x, lengths=LENGTHS, y=np.arange(N))
    for part, index in zip((dataset.train, dataset.test), split_indices(N, ""), strict=True):
        assert part.x.shape == (len(index), 1, T, D)
        np.testing.assert_array_equal(part.x[:, 0], np.where(AFTER[index][:, :, None], np.nan, x[index]))
        np.testing.assert_array_equal(part.y, index)
    missing = D * int(AFTER.sum())
    assert f"{missing} of {x.size} values are missing: NaN in x" in dataset.notes


def test_a_mask_of_frames_or_of_values_says_the_same(tmp_path: Path) -> None:
    x = binary()
    wanted = loaded(tmp_path, x=x, lengths=LENGTHS).train.x
    values = np.broadcast_to(~AFTER[:, :, None], x.shape)
    for mask in (~AFTER, (~AFTER).astype(np.float32), values):
        torch.testing.assert_close(loaded(tmp_path, x=x, mask=mask).train.x, wanted, equal_nan=True)
    both = loaded(tmp_path, x=x, lengths=LENGTHS, mask=x.transpose(0, 1, 2) == x)
    torch.testing.assert_close(both.train.x, wanted, equal_nan=True)


def test_a_mask_leaves_holes_in_images_too(tmp_path: Path) -> None:
    images = np.random.default_rng(1).random((N, 5, 6, 3))
    mask = np.random.default_rng(2).random(images.shape) < 0.7
    train = loaded(tmp_path, x=images, mask=mask).train.x
    index, _ = split_indices(N, "")
    expected = np.moveaxis(np.where(mask, images, np.nan), 3, 1)[index]
    np.testing.assert_allclose(train, expected, atol=1e-7)


def test_what_is_not_observed_is_not_looked_at(tmp_path: Path) -> None:
    """Neither NaN nor numbers out of range disturb where no frame is, nor do bytes above 1 change the scale."""
    x = binary().astype(np.float64)
    wanted = loaded(tmp_path, x=x, lengths=LENGTHS).train.x
    for rubbish in (np.nan, np.inf, -7.0):
        padded = np.where(AFTER[:, :, None], rubbish, x)
        torch.testing.assert_close(loaded(tmp_path, x=padded, lengths=LENGTHS).train.x, wanted, equal_nan=True)
    padded_bytes = np.where(AFTER[:, :, None], np.uint8(255), binary())
    torch.testing.assert_close(loaded(tmp_path, x=padded_bytes, lengths=LENGTHS).train.x, wanted, equal_nan=True)
    with pytest.raises(DataError, match="NaN, infinite or too large"):
        loaded(tmp_path, x=np.where(AFTER[:, :, None], np.nan, x))


def test_named_splits_have_lengths_of_their_own(tmp_path: Path) -> None:
    x = binary()
    dataset = loaded(tmp_path, x_train=x, x_test=x[:4], lengths_train=LENGTHS, lengths_test=np.full(4, 2))
    np.testing.assert_array_equal(dataset.train.x[:, 0, :, 0].isnan(), AFTER)
    assert dataset.test.x[:, 0, 2:].isnan().all()
    assert dataset.test.x[:, 0, :2].isfinite().all()


def test_one_array_takes_lengths_and_mask_as_options(tmp_path: Path) -> None:
    path, x = tmp_path / "a.npy", binary()
    write(path, npy_bytes(x))
    wanted = loaded(tmp_path, x=x, lengths=LENGTHS).train.x
    torch.testing.assert_close(load_dataset(path, lengths=LENGTHS.tolist()).train.x, wanted, equal_nan=True)
    torch.testing.assert_close(load_dataset(path, mask=~AFTER).train.x, wanted, equal_nan=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"lengths": LENGTHS[:-1]},
            r"expected lengths as whole numbers \[20\], found dtype int64 and shape \(19,\)",
        ),
        ({"lengths": LENGTHS.astype(float)}, "expected lengths as whole numbers .* found dtype float64"),
        ({"lengths": LENGTHS - 1}, "expected lengths from 1 to the 5 frames of x, found 0 for sequence 0"),
        ({"lengths": LENGTHS + 1}, "expected lengths from 1 to the 5 frames of x, found 6 for sequence 4"),
        (
            {"x": binary()[:, 0], "lengths": LENGTHS},
            r"lengths need sequences x \[N, T, D\], found x of shape \(20, 3\)",
        ),
        (
            {"mask": np.ones((N, D))},
            r"expected a mask \[N, T\] or of the shape of x, \(20, 5, 3\), found \(20, 3\)",
        ),
        ({"mask": np.full((N, T), 2)}, "expected a mask of zeros and ones"),
        ({"mask": np.zeros((N, T))}, "expected a mask with ones, found that no value of x is observed"),
    ],
)
def test_lengths_and_masks_that_do_not_fit_are_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, **{"x": binary(), **arrays})


def test_sequences_of_any_lengths_become_one_tensor() -> None:
    parts = [np.ones((2, D)), torch.zeros(4, D), [[0.5] * D]]
    x = pad_sequences(parts)
    assert (x.shape, x.dtype) == ((3, 4, D), torch.float32)
    assert (~x.isnan()).all(-1).sum(1).tolist() == [2, 4, 1]
    assert x[0, :2].eq(1).all()
    assert x[2, 0].eq(0.5).all()
    assert pad_sequences(parts, num_frames=6).shape == (3, 6, D)


@pytest.mark.parametrize(
    ("parts", "num_frames", "message"),
    [
        ([], None, "sequences: expected at least one, found none"),
        ([np.ones((2, D)), np.ones((2, D + 1))], None, r"sequence 1: expected shape \[T, 3\] .* found \[2, 4\]"),
        ([np.ones((2, D)), np.ones((0, D))], None, r"sequence 1: .* T from 1 to 2, found \[0, 3\]"),
        ([np.ones((2, D))], 1, r"sequence 0: .* T from 1 to 1, found \[2, 3\]"),
        ([np.ones(3)], None, r"sequence 0: expected shape \[T, D\] .* found \[3\]"),
    ],
)
def test_sequences_that_do_not_fit_are_named(parts: list[Any], num_frames: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pad_sequences(parts, num_frames)
