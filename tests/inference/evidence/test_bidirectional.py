"""Brackets of simulated data hold the truth: the linear-Gaussian closed form, and quadrature."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.comparisons import CategoricalPair
from tests.scenarios import binary_mlp, draw_data, linear_gaussian, quadrature_evidence


def assert_holds(bracket, exact):
    """Both sides hold in the mean, to three standard errors of the spread over data; and they are near."""
    count = len(exact)
    below, above = exact - bracket.lower, bracket.upper - exact
    for side in (below, above):
        assert side.mean() > -3 * side.std() / math.sqrt(count)
    assert abs(bracket.gap) < 0.1
    assert bracket.gap_stderr < 0.05
    assert bracket.gap == pytest.approx((below + above).mean().item())


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_the_bracket_holds_the_closed_form(start):
    lg = linear_gaussian(seed=3, data_dim=4, latent_dim=2, guide="exact")
    if start == "guide":
        with torch.no_grad():
            lg.guide.posterior.scale_tril *= 1.3
    # The values of the data given are not looked at: their number and shape are.
    found = inf.bidirectional_evidence(
        lg, torch.zeros(24, 4, dtype=torch.float64), num_chains=50, num_temperatures=30, start=start
    )
    with torch.no_grad():
        exact = lg.log_evidence(found.x)
    assert_holds(found, exact)
    assert ((found.lower - exact) / found.lower_stderr).abs().max() < 4.5
    assert found.x.std() > 0.5


@pytest.mark.slow
def test_the_bracket_holds_the_quadrature_of_a_binary_decoder():
    vae = binary_mlp()
    found = inf.bidirectional_evidence(vae, torch.zeros(40, 6), num_chains=50, num_temperatures=40)
    assert_holds(found, quadrature_evidence(vae, found.x))


@pytest.mark.slow
def test_too_short_a_walk_shows_as_a_wide_bracket():
    lg = linear_gaussian(seed=3, data_dim=8, latent_dim=4)
    found = inf.bidirectional_evidence(lg, draw_data(lg, 16), num_chains=2, num_temperatures=2)
    with torch.no_grad():
        exact = lg.log_evidence(found.x)
    assert found.gap > 0.5
    assert found.lower.mean() < exact.mean() < found.upper.mean()


@pytest.mark.slow
def test_a_seed_gives_one_bracket_and_leaves_the_global_stream():
    lg = linear_gaussian(seed=3, data_dim=4, latent_dim=2)
    x, before = draw_data(lg, 2), torch.get_rng_state()
    first, again, other = (
        inf.bidirectional_evidence(lg, x, 2, num_temperatures=2, num_leapfrog=1, seed=s, memory_limit=1)
        for s in (1, 1, 2)
    )
    assert torch.equal(first.lower, again.lower)
    assert torch.equal(first.upper, again.upper)
    assert not torch.equal(first.x, other.x)
    assert torch.equal(torch.get_rng_state(), before)


def test_discrete_latents_are_refused_by_name():
    with pytest.raises(ModelError, match="site 'label' is discrete"):
        inf.bidirectional_evidence(CategoricalPair(), torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.slow
def test_a_broken_model_is_no_bracket():
    lg = pv.LinearGaussianVAE(torch.full((3, 1), torch.nan), torch.zeros(3), 1.0)
    with pytest.raises(ModelError, match="datum 0: an importance weight is NaN"):
        inf.bidirectional_evidence(lg, torch.zeros(2, 3), num_chains=2, num_temperatures=2)
