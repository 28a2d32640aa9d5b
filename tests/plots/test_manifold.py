import numpy as np
import pytest
import torch
from scipy.stats import norm

from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.latent_space.latent_grid import latent_grid
from ppl_vae.plots import plot_manifold
from tests.plots.pictures import images, tick_texts

EXTENT = ((-3.0, 3.0), (-1.0, 2.0))


def coordinates_as_colours(rows, cols, extent):
    """A decoder whose image tells the code: red is z₁, green is z₂, both scaled to [0, 1]."""
    z = latent_grid(rows, cols, extent)
    unit = (z - z.amin((0, 1))) / (z.amax((0, 1)) - z.amin((0, 1)))
    colour = torch.cat([unit, torch.zeros(rows, cols, 1)], dim=-1)
    return z, unit, colour[..., None, None].expand(rows, cols, 3, 4, 4)


def value_at(axes, x, y):
    """The colour drawn at the data coordinates (x, y)."""
    left, right, bottom, top = axes.images[0].get_extent()
    picture = np.asarray(axes.images[0].get_array())
    row = int((top - y) / (top - bottom) * picture.shape[0])
    col = int((x - left) / (right - left) * picture.shape[1])
    return picture[row, col, :2]


def test_draws_one_seamless_picture_from_the_top_row_down():
    x = images(2, 3)
    (axes,) = plot_manifold(x).axes
    picture = axes.images[0].get_array()
    assert picture.shape == (8, 12)
    assert np.array_equal(picture, np.block([[x[0, 0], x[0, 1], x[0, 2]], [x[1, 0], x[1, 1], x[1, 2]]]))


def test_with_an_extent_the_axes_are_latent_coordinates():
    z, unit, decoded = coordinates_as_colours(5, 7, EXTENT)
    (axes,) = plot_manifold(decoded, EXTENT).axes
    for i, j in np.ndindex(5, 7):
        assert np.allclose(value_at(axes, *z[i, j].tolist()), unit[i, j], atol=1e-6)
    assert axes.images[0].get_extent() == pytest.approx([-3.5, 3.5, -1.375, 2.375])


def test_without_one_the_ticks_stand_at_the_quantiles():
    z, unit, decoded = coordinates_as_colours(5, 7, None)
    (axes,) = plot_manifold(decoded).axes
    for i, j in np.ndindex(5, 7):
        assert np.allclose(value_at(axes, *norm.cdf(z[i, j])), unit[i, j], atol=1e-6)
    for axis, ticks in ((axes.xaxis, axes.get_xticks()), (axes.yaxis, axes.get_yticks())):
        values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in tick_texts(axis)]
        assert np.allclose(ticks, norm.cdf(values), atol=1e-12)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{1}$", "$z_{2}$")


@pytest.mark.parametrize("extent", [None, EXTENT])
def test_pixels_are_square_on_the_page(extent):
    figure = plot_manifold(np.zeros((3, 5, 8, 6)), extent)
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert np.isclose(box.width / (5 * 6), box.height / (3 * 8), rtol=1e-6)


def test_refuses_bad_input():
    with pytest.raises(DataError, match="at least 2 by 2 tiles, found 1 by 5"):
        plot_manifold(images(1, 5))
    with pytest.raises(ModelError, match="low < high"):
        plot_manifold(images(2, 2), ((1.0, -1.0), (0.0, 1.0)))
