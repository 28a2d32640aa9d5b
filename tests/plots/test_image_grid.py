import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots.image_grid import as_images, draw_grid, tile, wrap
from tests.plots.pictures import drawn_tile, images


@pytest.mark.parametrize("event", [(1, 4, 4), (4, 4)])
def test_every_grey_event_shape_gives_the_same_images(event):
    x = images(2, 3)
    assert np.array_equal(as_images(x.reshape(2, 3, *event), ("a", "b")), x)


def test_rgb_has_its_channels_last():
    x = np.random.default_rng(0).random((2, 3, 4, 6))
    seen = as_images(x)
    assert seen.shape == (2, 4, 6, 3)
    assert seen[1, 2, 5, 0] == x[1, 0, 2, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.int64])
def test_takes_tensors_of_every_kind(dtype):
    x = torch.eye(4).expand(2, 4, 4).to(dtype).requires_grad_(dtype.is_floating_point)
    assert np.array_equal(as_images(x), np.broadcast_to(np.eye(4), (2, 4, 4)))


def test_clips_to_the_unit_interval_and_leaves_the_input_alone():
    x = np.array([[[-0.5, 0.25], [0.75, 1.5]]])
    assert np.array_equal(as_images(x), [[[0.0, 0.25], [0.75, 1.0]]])
    assert x.min() == -0.5


@pytest.mark.parametrize("shape", [(2, 15), (2, 16), (2, 2, 4, 4), (2, 4, 4, 3), (0, 4, 4), (2,), (2, 1, 3, 4, 4)])
def test_refuses_other_shapes(shape):
    with pytest.raises(DataError, match=r"expected shape \[N, \*event\].*found \(" + str(shape[0])):
        as_images(np.zeros(shape))


def test_a_table_is_refused_with_the_calls_that_draw_it():
    """Sixteen columns are no picture of 4 by 4 pixels."""
    with pytest.raises(DataError, match=r"16 columns is drawn by plot_marginals.*x.reshape\(-1, 4, 4\)"):
        as_images(np.zeros((2, 16)))
    with pytest.raises(DataError, match=r"13 columns is drawn by plot_marginals.*x.reshape\(-1, H, W\)"):
        as_images(np.zeros((2, 13)))


def test_refuses_what_cannot_be_shown():
    with pytest.raises(DataError, match="1 of 32 that are nan or infinite"):
        as_images(np.where(np.arange(32) == 5, np.nan, 0.0).reshape(2, 4, 4))
    with pytest.raises(DataError, match="integers up to 255"):
        as_images(np.full((2, 4, 4), 255, dtype=np.uint8))


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_tile_puts_each_image_at_its_place(gap, channels):
    x = np.random.default_rng(0).random((2, 3, 4, 5, *channels))
    picture = tile(x, gap)
    assert picture.shape == (2 * 4 + gap, 3 * 5 + 2 * gap, *channels)
    for i, j in np.ndindex(2, 3):
        top, left = i * (4 + gap), j * (5 + gap)
        assert np.array_equal(picture[top : top + 4, left : left + 5], x[i, j])
    assert np.isclose(picture.sum(), x.sum() + picture.size - x.size)  # all else is white


def test_wrap_fills_the_last_row_with_white():
    grid = wrap(images(5), cols=3)
    assert grid.shape == (2, 3, 4, 4)
    assert np.array_equal(grid[1, 1], images(5)[4])
    assert np.all(grid[1, 2] == 1.0)


def test_tiles_are_centred_on_whole_numbers():
    """The point (j, i) of the axes is the middle of the image in row i and column j."""
    axes = Figure().subplots()
    x = images(2, 3)
    draw_grid(axes, x, ["a", "b"], ["c", "d", "e"])
    picture = axes.images[0]
    left, right, bottom, top = picture.get_extent()
    height, width = picture.get_array().shape
    for i, j in np.ndindex(2, 3):
        assert np.array_equal(drawn_tile(axes, i, j), x[i, j])
        col, row = (j + 0.1 - left) / (right - left) * width, (i - 0.1 - top) / (bottom - top) * height
        assert picture.get_array()[int(row), int(col)] == x[i, j, 1, 2]
    assert axes.get_xticks().tolist() == [0, 1, 2]
    assert axes.get_yticks().tolist() == [0, 1]


def test_grey_runs_from_black_at_zero_to_white_at_one():
    axes = Figure().subplots()
    draw_grid(axes, np.full((1, 1, 4, 4), 0.5))
    assert axes.images[0].get_clim() == (0.0, 1.0)
    assert np.allclose(axes.images[0].to_rgba([[0.0, 1.0]]), [[[0, 0, 0, 1], [1, 1, 1, 1]]])


def test_pixels_are_square_on_the_page():
    figure = Figure()
    axes = figure.subplots()
    draw_grid(axes, np.zeros((2, 3, 10, 30)))
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    height, width = axes.images[0].get_array().shape
    assert np.isclose(box.width / width, box.height / height, rtol=1e-6)
