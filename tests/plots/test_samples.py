import numpy as np
import pytest

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import plot_samples
from tests.plots.pictures import drawn_tile, grid_shape, images


@pytest.mark.parametrize(("count", "columns", "expected"), [(1, None, (1, 1)), (7, None, (3, 3)), (7, 2, (4, 2))])
def test_draws_images_row_by_row(count, columns, expected):
    x = images(count)
    (axes,) = plot_samples(x, columns).axes
    assert grid_shape(axes) == expected
    for n in range(count):
        assert np.array_equal(drawn_tile(axes, *divmod(n, expected[1])), x[n])
    blanks = [drawn_tile(axes, *divmod(n, expected[1])) for n in range(count, expected[0] * expected[1])]
    assert np.all(np.array(blanks) == 1.0)


def test_draws_colour():
    x = np.random.default_rng(0).random((4, 3, 4, 4))
    (axes,) = plot_samples(x).axes
    assert np.array_equal(drawn_tile(axes, 1, 0), np.moveaxis(x[2], 0, -1))


def test_refuses_bad_input():
    with pytest.raises(ModelError, match="columns: expected at least 1, found 0"):
        plot_samples(images(3), columns=0)
    with pytest.raises(DataError, match=r"found \(3, 15\)"):
        plot_samples(np.zeros((3, 15)))
