import numpy as np
import pytest
import torch

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_traversals
from tests.plots.pictures import drawn_tile, grid_shape, images, tick_texts


def test_a_row_a_dimension_and_a_column_a_value():
    x = images(2, 3)
    (axes,) = plot_traversals(torch.tensor(x), torch.tensor([-1.5, 0.0, 1.5])).axes
    assert grid_shape(axes) == (2, 3)
    for dim, step in np.ndindex(2, 3):
        assert np.array_equal(drawn_tile(axes, dim, step), x[dim, step])
    assert tick_texts(axes.xaxis) == ["\N{MINUS SIGN}1.5", "0", "1.5"]
    assert tick_texts(axes.yaxis) == ["$z_{1}$", "$z_{2}$"]


def test_rows_can_be_named():
    (axes,) = plot_traversals(images(2, 3), [-1, 0, 1], names=["width", "slant"]).axes
    assert tick_texts(axes.yaxis) == ["width", "slant"]


def test_refuses_labels_that_do_not_match():
    with pytest.raises(DataError, match=r"values: expected 3, one for each column of images, found shape \(2,\)"):
        plot_traversals(images(2, 3), [-1, 1])
    with pytest.raises(DataError, match=r"names: expected 2, one for each row of images, found shape \(1,\)"):
        plot_traversals(images(2, 3), [-1, 0, 1], names=["width"])
