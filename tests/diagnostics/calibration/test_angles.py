r"""Calibration of an angle: a model of directions in the plane, whose posterior is a von Mises law.

a ~ von Mises(0, k),   x | a ~ N((cos a, sin a), s^2 I)
a | x ~ von Mises(m, c),   c e^(im) = k + (x_1 + i x_2) / s^2
"""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae.diagnostics import check_calibration, run_calibration, simulate_posteriors
from ppl_vae.distributions import VonMises

PRIOR, NOISE = 1.0, 0.4


def model(x):
    with pyro.plate("data", len(x)):
        angle = pyro.sample("angle", VonMises(torch.zeros(1), torch.full((1,), PRIOR)).to_event(1))
        pyro.sample("x", dist.Normal(torch.cat([angle.cos(), angle.sin()], -1), NOISE).to_event(1), obs=x)


def guide(narrower=1.0, shift=0.0):
    def program(x):
        towards = torch.complex(PRIOR + x[..., 0] / NOISE**2, x[..., 1] / NOISE**2)
        mean = torch.remainder(towards.angle() + shift + math.pi, 2 * math.pi) - math.pi
        with pyro.plate("data", len(x)):
            pyro.sample("angle", VonMises(mean[..., None], narrower * towards.abs()[..., None]).to_event(1))

    return program


def verdict(**fault):
    simulated = simulate_posteriors((model, guide(**fault)), torch.zeros(50, 2), num_simulations=600)
    return check_calibration(run_calibration(simulated))


@pytest.mark.slow
def test_the_exact_von_mises_posterior_is_calibrated():
    assert verdict().level == "good"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [({"narrower": 4.0}, "too narrow"), ({"narrower": 0.25}, "too wide"), ({"shift": 0.4}, "shifted")],
    ids=["narrow", "wide", "shifted"],
)
def test_one_that_is_not_is_found_and_said_how(fault, words):
    found = verdict(**fault)
    assert found.level == "bad"
    assert words in found.words
