"""The log ratio of two Gaussians has a closed form, and clusters that have the prior's moments are seen."""

import math

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from scipy.stats import multivariate_normal, norm

import ppl_vae as pv
from ppl_vae.diagnostics import check_density_ratio, run_density_ratio
from ppl_vae.errors import DataError


class Codes:
    """x is the code: q(z|x) is a narrow Gaussian about it, so that the aggregate posterior is the data's law."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.1).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1).to_event(1))


def ratio_of(x, seed=0):
    pair = Codes()
    return run_density_ratio((pair.model, pair.guide), x, seed=seed)


def drawn(shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.slow
def test_of_gaussians_ratio_accuracy_and_kl_are_the_closed_forms():
    """q = N(m, S) against N(0, I): the KL in closed form, the rest by SciPy's densities at the draws."""
    mean, factor = torch.tensor([0.6, 0.0]).double(), torch.tensor([[0.8, 0.0], [0.5, 0.5]]).double()
    numbers = ratio_of(mean + drawn((4000, 2)) @ factor.mT)
    covariance = (factor @ factor.mT).numpy() + 0.01 * np.eye(2)
    q, p = multivariate_normal(mean.numpy(), covariance), multivariate_normal(np.zeros(2), np.eye(2))
    exact = q.logpdf(numbers["z"].values) - p.logpdf(numbers["z"].values)
    # Far out, where few draws are, a ratio is hardly known.
    inside = np.abs(exact) < 3
    assert np.sqrt(np.mean((numbers["log_ratio"].values - exact)[inside] ** 2)) < 0.25
    kl = 0.5 * (np.trace(covariance) + mean.square().sum().item() - 2 - np.linalg.slogdet(covariance)[1])
    assert kl - 0.1 < numbers["kl"].item() < kl + 4 * numbers["kl_stderr"].item()
    best = 0.5 * ((exact[0] > 0).mean() + (exact[1] <= 0).mean())
    assert numbers["accuracy"].item() == pytest.approx(best, abs=0.01)
    assert numbers["holes"].item() == pytest.approx((exact[1] < math.log(0.1)).mean(), abs=0.03)


def test_the_exact_model_has_no_difference_and_shifted_codes_have_the_normal_one():
    same = ratio_of(math.sqrt(0.99) * drawn((400, 2)))
    assert abs(same["total_variation"].item()) < 4 * same["total_variation_stderr"].item()
    assert check_density_ratio(same).level in ("good", "unknown")
    shifted = ratio_of(torch.tensor([2.0, 0.0]).double() + math.sqrt(0.99) * drawn((400, 2)))
    # Of two normals two standard deviations apart: Phi(1), and KL 2.
    assert shifted["accuracy"].item() == pytest.approx(norm.cdf(1), abs=4 * shifted["accuracy_stderr"].item())
    assert 1 < shifted["kl"].item() < 2 + 4 * shifted["kl_stderr"].item()
    assert check_density_ratio(shifted).level == "bad"


@pytest.mark.slow
def test_the_error_of_the_accuracy_is_its_spread_where_there_is_no_difference():
    """That of as many independent draws was 0.7 of it: of 60 tables the spread has a relative error of 0.09."""
    found = [ratio_of(math.sqrt(0.99) * drawn((300, 2), seed), seed) for seed in range(60)]
    accuracies = np.array([numbers["accuracy"].item() for numbers in found])
    assert abs(accuracies.mean() - 0.5) < 4 * accuracies.std() / math.sqrt(60)
    stated = found[0]["accuracy_stderr"].item()
    assert 0.7 * stated < accuracies.std(ddof=1) < 1.28 * stated


@pytest.mark.slow
def test_clusters_with_the_priors_mean_and_variance_are_seen():
    """Codes at plus and minus 0.98, spread 0.2: no moment of second order tells them from N(0, 1)."""
    signs = torch.where(drawn((1500, 1), 1) > 0, 1.0, -1.0)
    numbers = ratio_of(0.98 * signs + math.sqrt(0.03) * drawn((1500, 1)))

    def q(z):
        return 0.5 * (norm.pdf(z, 0.98, 0.2) + norm.pdf(z, -0.98, 0.2))

    grid = np.linspace(-6, 6, 20_001)
    variation = 0.5 * np.abs(q(grid) - norm.pdf(grid)).sum() * (grid[1] - grid[0])
    error = 4 * numbers["total_variation_stderr"].item()
    assert variation - 0.05 - error < numbers["total_variation"].item() < variation + error
    assert numbers["holes"].item() > 0.2


def test_mistakes_are_named():
    with pytest.raises(DataError, match="at least 20"):
        ratio_of(drawn((10, 2)))
    with pytest.raises(DataError, match="expected what run_density_ratio returns"):
        check_density_ratio(xr.Dataset({"other": ("datum", [1.0])}))


@pytest.mark.slow
def test_several_sites_lie_side_by_side():
    hierarchy = pv.models.HierarchicalVAE((5,), (3, 2), likelihood="gaussian", seed=0)
    numbers = run_density_ratio(hierarchy, drawn((60, 5)).float(), 2)
    assert numbers.sizes["latent"] == 5
