"""Latent angles on the ladder: a place that is reached around the circle is the same place."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from scipy.special import i0, i1

from ppl_vae.diagnostics.infer import infer
from ppl_vae.diagnostics.infer.missed_modes import climb
from ppl_vae.inference.evidence.unconstrained import LatentVector

# z ~ VonMises(0.5, 1.5) and x ~ VonMises(z, 2): the posterior of z is a von Mises as well.
X = torch.tensor([-2.8, -1.0, 0.4, 3.0], dtype=torch.float64)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.VonMises(x.new_tensor(0.5), x.new_tensor(1.5)))
        pyro.sample("x", dist.VonMises(z, x.new_tensor(2.0)), obs=x)


def posterior(x):
    """Its mean angle and its concentration for each datum."""
    east, north = (1.5 * f(torch.tensor(0.5, dtype=x.dtype)) + 2.0 * f(x) for f in (torch.cos, torch.sin))
    return torch.atan2(north, east), torch.hypot(east, north)


def wide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.VonMises(0.7 * x, x.new_tensor(1.0)))


def test_the_summit_of_an_angle_is_on_its_circle():
    latents = LatentVector(model, X)
    away = torch.full((1, len(X), 1), 3 * math.pi, dtype=torch.float64)
    summit = climb(latents, away).position[-1, :, 0]
    assert torch.allclose(summit, posterior(X)[0], atol=1e-2)


@pytest.mark.slow
def test_chains_that_went_around_agree():
    result = infer((model, wide), X, num_draws=500, progress=False, seed=1, khat=-10.0, rhat=1.05)
    stats, angle = result.sample_stats, result.posterior["z"].values[0]
    assert stats["rung"].values.tolist() == [4] * 4, stats["reason"].values
    mean, concentration = (each.numpy() for each in posterior(X))
    # E cos(z - mean) = I1 / I0, E sin(z - mean) = 0; both have variances of at most 1.
    error = 1 / np.sqrt(np.minimum(stats["ess"].values, 500))
    assert (np.abs(np.cos(angle - mean).mean(0) - i1(concentration) / i0(concentration)) < 4 * error).all()
    assert (np.abs(np.sin(angle - mean).mean(0)) < 4 * error).all()
    assert np.abs(angle).max() <= np.pi
