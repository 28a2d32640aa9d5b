"""The picture of aggregate posterior and prior holds the draws, coloured by the log ratio."""

import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import plot_density_ratio


def made_ratio(width=3):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 20, width))
    variables = {"z": (("source", "draw", "latent"), z), "log_ratio": (("source", "draw"), 4 * z[..., 0])}
    return xr.Dataset(variables, {"source": ["aggregate posterior", "prior"]})


def test_points_are_the_draws_in_the_two_dimensions():
    numbers = made_ratio()
    prior, ours = plot_density_ratio(numbers, dims=(2, 0)).axes[0].collections
    np.testing.assert_allclose(prior.get_offsets(), numbers["z"].values[1][:, [2, 0]])
    np.testing.assert_allclose(ours.get_offsets(), numbers["z"].values[0][:, [2, 0]])
    # Beyond three nats the colour is that of three.
    np.testing.assert_allclose(prior.get_array(), np.clip(numbers["log_ratio"].values[1], -3, 3))


def test_of_one_dimension_the_ratio_is_the_second_axis():
    numbers = made_ratio(1)
    (prior, _) = plot_density_ratio(numbers).axes[0].collections
    np.testing.assert_allclose(
        prior.get_offsets(), np.stack([numbers["z"].values[1, :, 0], numbers["log_ratio"].values[1]], 1)
    )


def test_mistakes_are_named():
    with pytest.raises(DataError, match=r"found no log_ratio$"):
        plot_density_ratio(made_ratio().drop_vars("log_ratio"))
    with pytest.raises(ModelError, match="dims: expected two of 0 to 2, found"):
        plot_density_ratio(made_ratio(), dims=(0, 3))
