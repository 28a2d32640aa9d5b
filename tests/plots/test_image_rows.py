import numpy as np
import pytest

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_image_rows
from tests.plots.pictures import drawn_tile, grid_shape, images, tick_texts


def test_a_row_a_name():
    rows = {"input": images(4), "beta 4": images(4)[::-1]}
    (axes,) = plot_image_rows(rows, title="Digits").axes
    assert grid_shape(axes) == (2, 4)
    for row, column in np.ndindex(2, 4):
        assert np.array_equal(drawn_tile(axes, row, column), list(rows.values())[row][column])
    assert tick_texts(axes.yaxis) == ["input", "beta 4"]


def test_rows_that_do_not_stand_under_each_other_are_refused():
    with pytest.raises(DataError, match=r"row 'short': expected images of shape .* as of 'input', found"):
        plot_image_rows({"input": images(4), "short": images(3)})
    with pytest.raises(DataError, match="rows: expected at least one row"):
        plot_image_rows({})
