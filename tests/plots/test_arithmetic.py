import numpy as np
import pytest
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_latent_arithmetic
from tests.plots.pictures import drawn_tile, grid_shape, images, tick_texts


def test_a_row_a_datum_and_a_column_a_weight():
    x = images(2, 3)
    (axes,) = plot_latent_arithmetic(x, np.array([-0.5, 0.0, 1.0]), "smiling").axes
    assert grid_shape(axes) == (2, 3)
    for datum, step in np.ndindex(2, 3):
        assert np.array_equal(drawn_tile(axes, datum, step), x[datum, step])
    assert tick_texts(axes.xaxis) == ["\N{MINUS SIGN}0.5", "0", "1"]
    assert "smiling" in axes.get_xlabel()


def test_the_column_without_change_is_framed():
    (axes,) = plot_latent_arithmetic(images(2, 3), [-1, 0, 1], "smiling").axes
    (frame,) = axes.patches
    assert frame.get_bbox().extents.tolist() == [0.5, -0.5, 1.5, 1.5]
    colours = [to_hex(label.get_color()) for label in axes.get_xticklabels()]
    assert colours[1] == to_hex(frame.get_edgecolor())
    assert colours[1] not in (colours[0], colours[2])


def test_no_frame_without_a_zero_weight():
    (axes,) = plot_latent_arithmetic(images(2, 3), [1, 2, 3], "cost in $").axes
    assert len(axes.patches) == 0
    axes.figure.draw_without_rendering()


def test_refuses_weights_that_do_not_match():
    with pytest.raises(DataError, match=r"alphas: expected 3, one for each column.* found shape \(2,\)"):
        plot_latent_arithmetic(images(2, 3), [0, 1], "smiling")
