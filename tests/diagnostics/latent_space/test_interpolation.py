"""Evidence along a path: against the closed form of a linear model, and on digits against blended pixels."""

import numpy as np
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae.diagnostics import check_interpolation, run_interpolation
from ppl_vae.errors import DataError
from tests.scenarios import draw_data, linear_gaussian


def test_the_numbers_are_those_of_the_closed_form():
    """A linear decoder blends pixels itself: log p is a parabola along either path, and its sag is negative."""
    lg = linear_gaussian(latent_dim=2, guide="exact")
    x1, x2 = draw_data(lg, 6, seed=1), draw_data(lg, 6, seed=2)
    path = lg.interpolate(x1, x2, num_steps=5)
    numbers = run_interpolation(lg, path, x1, x2, num_samples=30)
    exact = lg.log_evidence(path.flatten(0, 1)).reshape(5, 6).detach().numpy()
    np.testing.assert_allclose(numbers["log_evidence"].sel(path="latent"), exact.mean(1), atol=1e-6)
    straight = torch.stack([torch.lerp(x1, x2, t) for t in np.linspace(0, 1, 5)])
    pixels = lg.log_evidence(straight.flatten(0, 1)).reshape(5, 6).detach().numpy()
    np.testing.assert_allclose(numbers["log_evidence"].sel(path="pixels"), pixels.mean(1), atol=1e-6)
    times = np.linspace(0, 1, 5)[:, None]
    sags = [((1 - times) * v[:1] + times * v[-1:] - v)[1:-1].max(0) for v in (exact, pixels)]
    np.testing.assert_allclose(numbers["sag"], [sag.mean() for sag in sags], atol=1e-6)
    assert numbers["gain"].item() == pytest.approx((sags[1] - sags[0]).mean(), abs=1e-6)
    assert (numbers["sag"] < 0).all()


def test_binary_pixels_may_be_integers():
    vae = pv.VAE((6,), 2)
    x = torch.randint(2, (8, 6), generator=torch.Generator().manual_seed(0))
    path = vae.interpolate(x[:4].float(), x[4:].float(), num_steps=3)
    found = [run_interpolation(vae, path, *ends, num_samples=20) for ends in (x.split(4), x.float().split(4))]
    xr.testing.assert_equal(*found)


@pytest.mark.slow
def test_a_latent_path_beats_blended_digits_and_a_path_of_noise_does_not():
    ds = pv.load_dataset("digits", binarize="threshold")
    vae = pv.VAE(ds.event_shape, 6)
    pv.fit(vae, ds, epochs=12, batch_size=64, lr=3e-3, device="cpu", progress=False)
    order = torch.randperm(len(ds.test), generator=torch.Generator().manual_seed(0))
    x1, x2 = ds.test.x[order[:60]], ds.test.x[order[60:120]]
    numbers = run_interpolation(vae, vae.interpolate(x1, x2, num_steps=5), x1, x2, num_samples=50)
    assert numbers.attrs["cut_at_half"] == 1
    assert check_interpolation(numbers).level == "good"
    noise = torch.rand(5, 60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    noise[0], noise[-1] = x1, x2
    assert check_interpolation(run_interpolation(vae, noise, x1, x2, num_samples=50)).level == "bad"


def test_mistakes_are_named():
    lg = linear_gaussian(latent_dim=2)
    x = draw_data(lg, 3)
    with pytest.raises(DataError, match=r"path: expected \[S, N, \*event_shape\] with S of at least 3"):
        run_interpolation(lg, torch.stack([x, x]), x, x)
    with pytest.raises(DataError, match="expected what run_interpolation returns"):
        check_interpolation(xr.Dataset())
