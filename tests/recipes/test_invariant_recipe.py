"""Rotated digits: how far they were turned is found by the angle's posterior, which calibration judges."""

import time

import pytest
import torch
from sklearn.linear_model import LinearRegression

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae.models.invariant.warp import warp

CONCENTRATION = 4.0
NOISE = {"likelihood": {"name": "gaussian", "sigma": "learned"}}
FIT = {"epochs": 40, "lr": 3e-3, "batch_size": 64, "device": "cpu", "compile": False, "progress": False}


def turned(split, seed):
    """Ten copies of the sevens of a split, each turned by an angle of a von Mises law; and the angles."""
    sevens = split.x[split.y == 7].repeat(10, 1, 1, 1)
    torch.manual_seed(seed)
    angle = torch.distributions.VonMises(0.0, CONCENTRATION).sample((len(sevens),))
    nothing = torch.zeros(len(sevens), 2)
    return warp(sevens, angle, nothing, nothing[:, 0]).clamp(0, 1), angle


@pytest.fixture(scope="module")
def run():
    digits = pv.load_dataset("digits")
    (x, _), (held_out, angle) = turned(digits.train, 0), turned(digits.test, 1)
    recipe = pv.make(
        "invariant-vae", (1, 8, 8), transforms=("rotation",), angle_concentration=CONCENTRATION, **NOISE
    )
    before = pv.evaluate(recipe.vae, held_out).elbo.mean()
    start = time.process_time()
    pv.fit(recipe, x, **FIT)
    return recipe.vae, x, held_out, angle, before, time.process_time() - start


def errors(found, angle):
    """The angle between what was found and the truth, but for where the decoder's upright is: [N], radians."""
    apart = found - angle
    upright = torch.atan2(apart.sin().mean(), apart.cos().mean())
    return torch.atan2((apart - upright).sin(), (apart - upright).cos())


@pytest.mark.slow
def test_the_angle_of_held_out_digits_is_recovered(run):
    """A circular error of 0.12 radians, root mean square, at most; the angles themselves spread by 0.56."""
    vae, _, held_out, angle, before, seconds = run
    assert seconds < 60
    assert pv.evaluate(vae, held_out).elbo.mean() > before + 60
    assert errors(vae.pose(held_out)["angle"].mean[:, 0], angle).square().mean().sqrt() < 0.12
    assert angle.std() > 0.5


def explained(codes, angle, held_out_codes, held_out_angle):
    """The share of the held-out angles' variance that a regression on codes of training data explains."""
    fitted = LinearRegression().fit(codes.numpy(), angle.numpy())
    return fitted.score(held_out_codes.numpy(), held_out_angle.numpy())


@pytest.mark.slow
def test_the_code_besides_the_angle_does_not_know_it_and_that_of_a_plain_vae_does(run):
    vae, x, held_out, angle, *_ = run
    plain = pv.make("vae", (1, 8, 8), latent_dim=5, network=vae.config["network"], **NOISE)
    pv.fit(plain, x, **{**FIT, "epochs": 15})
    own = turned(pv.load_dataset("digits").train, 0)[1]
    ours, theirs = (
        explained(pair.encode(x).mean, own, pair.encode(held_out).mean, angle) for pair in (vae, plain.vae)
    )
    assert theirs > 0.8
    assert ours < 0.2


@pytest.mark.slow
def test_calibration_finds_the_angle_of_independent_posteriors_too_narrow(run):
    """As it must be beside a code that depends on it; the exact one passes (tests/diagnostics/calibration)."""
    vae, _, held_out, *_ = run
    simulated = diagnostics.simulate_posteriors(vae, held_out, num_simulations=200)
    verdict = diagnostics.check_calibration(diagnostics.run_calibration(simulated))
    assert verdict.level == "bad"
    assert "angle[0]" in verdict.words.split("too narrow")[0]
