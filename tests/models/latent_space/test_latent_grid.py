import numpy as np
import pytest
import torch
from scipy.stats import norm

from ppl_vae.errors import ModelError
from ppl_vae.models.latent_space.latent_grid import latent_grid


def test_linear_grid_includes_its_ends_and_points_up():
    z = latent_grid(3, 5, extent=((-2.0, 2.0), (0.0, 1.0)))
    assert z.shape == (3, 5, 2)
    assert torch.equal(z[:, :, 0], torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(3, 5))
    assert torch.equal(z[:, :, 1], torch.tensor([[1.0], [0.5], [0.0]]).expand(3, 5))


def test_quantile_grid_cuts_the_normal_into_equal_shares():
    z = latent_grid(4, 10)
    assert np.allclose(norm.cdf(z[0, :, 0]), (np.arange(10) + 0.5) / 10, atol=1e-6)
    assert np.allclose(norm.cdf(z[:, 0, 1]), (np.arange(4)[::-1] + 0.5) / 4, atol=1e-6)
    assert torch.allclose(z, -z.flip((0, 1)), atol=1e-6)


def test_every_point_of_a_row_has_its_z2_and_of_a_column_its_z1():
    z = latent_grid(6, 7)
    assert torch.equal(z[:, :, 0], z[:1, :, 0].expand(6, 7))
    assert torch.equal(z[:, :, 1], z[:, :1, 1].expand(6, 7))
    assert z.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("size", [(1, 5), (5, 0)])
def test_refuses_a_grid_that_is_no_plane(size):
    with pytest.raises(ModelError, match=f"at least 2 rows and 2 columns, found {size[0]} and {size[1]}"):
        latent_grid(*size)


@pytest.mark.parametrize("extent", [((1.0, -1.0), (0.0, 1.0)), ((0.0, 1.0), (2.0, 2.0))])
def test_refuses_an_extent_that_does_not_rise(extent):
    with pytest.raises(ModelError, match="low < high"):
        latent_grid(3, 3, extent)
