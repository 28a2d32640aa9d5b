import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import plot_reference


def two_sets(latents=3, seed=0):
    """Draws of our choice, as run_reference returns them: 2 data, 2 chains of 100."""
    g = np.random.default_rng(seed)
    variables = {
        "z": (("datum", "chain", "draw", "latent"), g.standard_normal((2, 2, 100, latents))),
        "guide_z": (("datum", "guide_draw", "latent"), 0.5 * g.standard_normal((2, 200, latents))),
    }
    return xr.Dataset(variables)


def test_points_are_the_reference_draws_of_the_chosen_datum():
    table = two_sets()
    figure = plot_reference(table, datum=1, dims=[0, 2])
    _, pair, _ = figure.axes
    expected = table["z"].to_numpy()[1].reshape(200, 3)[:, [0, 2]]
    assert np.allclose(pair.collections[0].get_offsets(), expected)
    assert pair.get_xlabel() == "$z_{1}$"
    assert pair.get_ylabel() == "$z_{3}$"


def test_the_outlines_hold_their_shares_of_the_guide():
    """A Gaussian's 50% and 90% regions have radii of 1.18 and 2.15 standard deviations, here of 1/2."""
    g = np.random.default_rng(0)
    table = two_sets(2)
    wide = xr.Dataset({"z": table["z"], "guide_z": (table["guide_z"].dims, 0.5 * g.standard_normal((2, 20000, 2)))})
    pair = plot_reference(wide).axes[1]
    radii = [np.hypot(*path.vertices.T).mean() for path in pair.collections[1].get_paths()]
    assert np.allclose(sorted(radii), [0.59, 1.07], rtol=0.06)


@pytest.mark.slow
def test_four_dimensions_are_the_most_by_default():
    assert len(plot_reference(two_sets(6)).axes) == 10
    assert len(plot_reference(two_sets(1)).axes) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"datum": 2}, "datum: expected one of 0 to 1"), ({"dims": [3]}, "dims: expected some of 0 to 2")],
)
def test_what_is_not_there_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        plot_reference(two_sets(), **options)


def test_another_table_is_refused():
    with pytest.raises(DataError, match="expected what run_reference returns"):
        plot_reference(two_sets().drop_vars("guide_z"))
