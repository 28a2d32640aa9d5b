import numpy as np
import pytest

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_interpolations
from tests.plots.pictures import drawn_tile, grid_shape, images, tick_texts


def test_each_row_is_one_pair():
    x = images(5, 2)
    (axes,) = plot_interpolations(x.reshape(5, 2, 1, 4, 4)).axes
    assert grid_shape(axes) == (2, 5)
    for step, pair in np.ndindex(5, 2):
        assert np.array_equal(drawn_tile(axes, pair, step), x[step, pair])
    assert tick_texts(axes.xaxis) == ["0", "0.25", "0.5", "0.75", "1"]
    assert "lambda" in axes.get_xlabel()


def test_refuses_images_without_steps():
    with pytest.raises(DataError, match=r"\[steps, N, \*event\].*found \(5, 15\)"):
        plot_interpolations(np.zeros((5, 15)))
