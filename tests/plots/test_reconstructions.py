import numpy as np
import pytest
import torch

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_reconstructions
from tests.plots.pictures import drawn_tile, grid_shape, images, tick_texts


@pytest.mark.parametrize(("count", "bands", "cols"), [(5, 1, 5), (12, 1, 12), (13, 2, 7), (30, 3, 10)])
def test_each_datum_stands_above_its_reconstruction(count, bands, cols):
    x = images(count)
    figure = plot_reconstructions(x.reshape(count, 1, 4, 4), torch.tensor(1 - x).reshape(count, 1, 4, 4))
    assert len(figure.axes) == bands
    for n in range(count):
        band, col = divmod(n, cols)
        axes = figure.axes[band]
        assert grid_shape(axes) == (2, cols)
        assert np.array_equal(drawn_tile(axes, 0, col), x[n])
        assert np.array_equal(drawn_tile(axes, 1, col), 1 - x[n])
        assert tick_texts(axes.yaxis) == ["input", "reconstruction"]


def test_refuses_another_shape():
    with pytest.raises(DataError, match=r"expected the shape of the data, \(3, 4, 4\), found \(2, 4, 4\)"):
        plot_reconstructions(images(3), images(2))
