"""Draws moved to the moments that their weights tell, on posteriors N(m, V) that are known exactly."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.infer import infer
from ppl_vae.diagnostics.infer.matched import LEAST_KHAT, NOTE, matched
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.diagnostics.infer.weighted import from_guide
from tests.diagnostics.faulty_guides import BIAS, SIGMA, WEIGHT, Faulty
from tests.scenarios import draw_data

S, LEAST_ESS, LARGEST_KHAT, MEMORY = 2000, 400.0, 0.697, 1 << 26


def narrow(share, num_data):
    """The linear-Gaussian model under a guide with this share of the posterior's variance, and data."""
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA, guide=Faulty(widen=share**0.5))
    return lg, draw_data(lg, num_data)


def weighted_draws(lg, x):
    """The guide's weighted draws, and the same moved where they are."""
    part = Part(lg.model, lg.guide, (x,))
    with torch.no_grad():
        before = from_guide(part, S, 0, MEMORY)
        return before, matched(part, before, LEAST_ESS, LARGEST_KHAT, MEMORY)


def variance_ratio(lg, x, weighted):
    """The weighted mean square of (z - m) over V, in the coordinates where V is I, of every datum."""
    posterior = lg.posterior(x)
    off = weighted.values["z"] - posterior.mean
    white = torch.linalg.solve_triangular(posterior.scale_tril, off.unsqueeze(-1), upper=False).squeeze(-1)
    return (weighted.weight * white.square().mean(-1)).sum(0).detach()


@pytest.mark.parametrize(("share", "least_gain"), [(0.4, 0.05), (0.5, 0.02)])
def test_moved_draws_have_the_posteriors_spread_which_a_narrow_guides_lack(share, least_gain):
    lg, x = narrow(share, 40)
    before, after = weighted_draws(lg, x)
    which = after.moved
    assert which.sum() >= 10
    assert not after.moved[before.khat <= LEAST_KHAT].any()
    assert torch.equal(after.weight[:, ~which], before.weight[:, ~which])
    one, other = (variance_ratio(lg, x, each)[which] for each in (before, after))
    # Two coordinates of so many data: each mean square of ess draws has the variance 2 / ess.
    error = (1 / after.ess[which]).sqrt().mean() / which.sum().sqrt()
    assert one.mean() < 1 - least_gain - 4 * error
    assert (other.mean() - 1).abs() < 4 * error + 0.015


def test_the_mean_weight_of_moved_draws_is_the_evidence():
    lg, x = narrow(0.5, 20)
    _, after = weighted_draws(lg, x)
    log_weight = after.log_weight[:, after.moved]
    weight = (log_weight - lg.log_evidence(x)[after.moved].detach()).exp()
    assert (((weight.mean(0) - 1) / (weight.std(0) / S**0.5)).abs() < 4).all()
    assert (after.ess[after.moved] > 0.8 * S).all()


def test_draws_of_equal_weights_stay_and_so_do_those_that_do_not_pass():
    lg, x = narrow(0.9, 4)
    before, after = weighted_draws(lg, x)
    assert after is before
    part = Part(lg.model, lg.guide, (x,))
    assert matched(part, before, LEAST_ESS, -1.0, MEMORY) is before


@pytest.mark.slow
def test_infer_of_a_guide_with_two_fifths_of_the_variance_is_right_on_the_second_rung():
    lg, x = narrow(0.4, 150)
    result = infer(lg, x, num_draws=1000, progress=False)
    stats = result.sample_stats
    moved = stats["reason"].values == NOTE
    assert moved.sum() > 50
    assert set(stats["rung"].values[moved]) == {2}
    posterior = lg.posterior(x)
    off = result.posterior["z"].values[0] - posterior.mean.detach().numpy()
    square = (off**2 / posterior.variance.detach().numpy()).mean((0, 2))[moved]
    # A thousand draws of each datum with at least 400 effective ones, and correlated coordinates.
    assert square.mean() == pytest.approx(1, abs=0.015 + 4 * np.sqrt(2 / 400 / moved.sum()))
