"""Images and spectra drawn here: their law is that of quadrature, and what they are drawn from."""

import math

import pytest
import torch

from ppl_vae.data import load_dataset
from ppl_vae.data.image_spectra import (
    SPECTRUM_NOISE,
    STRENGTH_SPREAD,
    mean_spectrum,
    render_cells,
    spectrum_law,
)
from ppl_vae.errors import DataError


def test_the_law_of_a_spectrum_is_that_of_quadrature_over_what_the_image_does_not_show():
    """Over 401 strengths within eight standard deviations, and both sides, in double precision."""
    ds = load_dataset("image-spectra", n=60)
    d, x = ds.test.factors[:, :2], ds.test.x.double()
    strength = torch.linspace(1 - 8 * STRENGTH_SPREAD, 1 + 8 * STRENGTH_SPREAD, 401, dtype=torch.float64)
    weight = torch.distributions.Normal(1.0, STRENGTH_SPREAD).log_prob(strength) + (strength[1] - strength[0]).log()
    logs = []
    for side in (-1.0, 1.0):
        mean = strength[:, None, None] * mean_spectrum(d, torch.full((len(d),), side)).double()
        given = torch.distributions.Normal(mean, SPECTRUM_NOISE).log_prob(x).sum(-1)
        logs.append(given + weight[:, None] - math.log(2))
    exact = torch.cat(logs).logsumexp(0)
    torch.testing.assert_close(spectrum_law(d).log_prob(ds.test.x).double(), exact, rtol=2e-4, atol=2e-3)


def test_spectra_and_images_are_the_noise_around_their_factors():
    ds = load_dataset("image-spectra", n=3000, seed=1)
    d, side, strength = ds.train.factors.split([2, 1, 1], 1)
    residual = ds.train.x - strength * mean_spectrum(d, side[:, 0])
    assert residual.std().item() == pytest.approx(SPECTRUM_NOISE, rel=0.02)
    image = ds.train.covariates["image"]
    assert (image - render_cells(d)).std().item() == pytest.approx(0.03, rel=0.02)
    assert abs(side.mean()) < 4 / 2700**0.5
    assert strength.std().item() == pytest.approx(STRENGTH_SPREAD, rel=0.06)


def test_the_middle_atom_moves_with_the_displacement():
    left, right = render_cells(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
    torch.testing.assert_close(left, right.flip(-1))
    assert left[0, 5, :6].max() > 1.5 * left[0, 5, 6:].max()


@pytest.mark.parametrize("options", [{"n": 1}, {"n": 2.0}, {"seed": -1}])
def test_options_that_cannot_be_used_are_named(options):
    with pytest.raises(DataError, match=f"image-spectra: {next(iter(options))} must be an integer"):
        load_dataset("image-spectra", **options)
