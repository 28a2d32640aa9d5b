"""Aggregate-posterior objectives against closed forms (KNOWLEDGE 1.14, 1.16, 1.17) and enumeration."""

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.objectives.aggregate_posterior import (
    log_aggregate_posterior,
    squared_mmd,
    stratified_shares,
    weighted_shares,
)
from ppl_vae.inference.pair.terms import Site
from tests.inference.comparisons import CategoricalPair, off_optimum
from tests.inference.oracles import assert_mean


def terms_of(objective, lg, x, particles=1, seed=3):
    torch.manual_seed(seed)
    return inf.trace_terms(lg.model, lg.guide, x, num_particles=particles, gradient=objective.gradient)


def gaussian_codes(n=4000, d=3):
    """Encoder means V x of Gaussian data, one scale for all, and the aggregate posterior's covariance."""
    g = torch.Generator().manual_seed(0)
    gain = torch.randn(d, 2, generator=g, dtype=torch.float64)
    loc = torch.randn(n, 2, generator=g, dtype=torch.float64) @ gain.mT
    scale = torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64)
    covariance = gain @ gain.mT + torch.diag(scale**2)
    eps = torch.randn(1, n, d, generator=g, dtype=torch.float64)
    q = dist.Normal(loc, scale).to_event(1)
    p = dist.Normal(torch.zeros(d, dtype=torch.float64), 1.0).to_event(1)
    value = loc + scale * eps
    return Site("z", value, value[0], q, p), covariance, scale


def parts(site, shares):
    """Mutual information, total correlation and dimension-wise KL, per draw."""
    joint, product = log_aggregate_posterior(site, shares.log())
    return (
        site.q.log_prob(site.value) - joint, joint - product, product - site.p.log_prob(site.value)
    )  # fmt: skip


@pytest.mark.slow
def test_parts_are_the_closed_forms_of_gaussian_codes():
    """The whole data as the batch: the mixture's finite size costs about 1/n of a nat."""
    site, s, scale = gaussian_codes()
    n = site.value.shape[1]
    # q(z) with every datum's own share is the mixture itself.
    found = parts(site, torch.full((n, n), 1 / n, dtype=torch.float64))
    log_det, diagonal = torch.logdet(s), s.diagonal()
    exact = (
        0.5 * (log_det - 2 * scale.log().sum()),
        0.5 * (diagonal.log().sum() - log_det),
        0.5 * (diagonal - 1 - diagonal.log()).sum(),
    )
    for estimate, value in zip(found, exact, strict=True):
        draws = estimate.flatten()
        stderr = draws.std().item() / math.sqrt(n)
        assert abs(draws.mean().item() - value.item()) < 4 * stderr + 0.02, (draws.mean(), value, stderr)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_with_equal_weights_it_is_monte_carlo_kl(sampling):
    lg, x = off_optimum(n=6)
    objective = inf.TotalCorrelation("monte-carlo-kl", num_data=50, beta=1.0, sampling=sampling)
    terms = terms_of(objective, lg, x, particles=2)
    torch.testing.assert_close(objective.forward(terms), inf.MonteCarloKL(2).forward(terms), rtol=1e-12, atol=1e-12)


def test_each_weight_multiplies_its_part():
    lg, x = off_optimum(n=6)
    terms = terms_of(inf.MonteCarloKL(), lg, x)
    base = inf.TotalCorrelation("analytic-kl", 50, alpha=0, beta=0, gamma=0)
    likelihood = -terms.log_likelihood.mean()
    torch.testing.assert_close(base.forward(terms), likelihood)
    for index, weights in enumerate(({"alpha": 2.0}, {"beta": 2.0}, {"gamma": 2.0})):
        objective = inf.TotalCorrelation("analytic-kl", 50, **{"alpha": 0, "beta": 0, "gamma": 0, **weights})
        part = objective.decompose(terms)[index]
        torch.testing.assert_close(objective.forward(terms), likelihood + 2 * part.mean())


def one_dimensional(loc, value):
    """A site with codes ``value`` under N(loc_n, 1)."""
    q = dist.Normal(loc[:, None], torch.ones(len(loc), 1, dtype=loc.dtype)).to_event(1)
    codes = value.expand(1, len(loc), 1)
    return Site("z", codes, codes[0], q, None)


def test_stratified_sampling_is_exact_over_all_batches():
    """Every ordered batch of B = 3 out of N = 6 with one's own datum first: the mean of q(z) is the truth."""
    n, size = 6, 3
    loc = torch.linspace(-1.5, 2.0, n, dtype=torch.float64)
    value = torch.tensor([0.3], dtype=torch.float64)
    truth = torch.exp(dist.Normal(loc, 1.0).log_prob(value)).mean()
    shares = stratified_shares(size, n).log()
    for row in range(size):
        densities = []
        for others in itertools.permutations(range(1, n), size - 1):
            batch = list(others)
            batch.insert(row, 0)
            joint, _ = log_aggregate_posterior(one_dimensional(loc[batch], value), shares)
            densities.append(joint[0, row].exp())
        assert torch.stack(densities).mean().item() == pytest.approx(truth.item(), rel=1e-12)


@pytest.mark.parametrize(("size", "num_data"), [(2, 2), (3, 6), (4, 10), (5, 5)])
def test_stratified_rows_sum_to_one_with_the_own_share_on_the_diagonal(size, num_data):
    shares = stratified_shares(size, num_data)
    torch.testing.assert_close(shares.sum(1), torch.ones(size, dtype=torch.float64))
    torch.testing.assert_close(shares.diagonal(), torch.full((size,), 1 / num_data, dtype=torch.float64))
    assert (shares >= 0).all()


def test_weighted_sampling_of_the_whole_data_is_off_by_log_n_a_density():
    site, _, _ = gaussian_codes(n=60)
    n, d = 60, 3
    exact = parts(site, torch.full((n, n), 1 / n, dtype=torch.float64))
    weighted = parts(site, weighted_shares(n, n))
    torch.testing.assert_close(weighted[1] - exact[1], torch.full_like(exact[1], (d - 1) * math.log(n)))
    torch.testing.assert_close(weighted[0] - exact[0], torch.full_like(exact[0], math.log(n)))


def test_refusals_of_total_correlation():
    lg, x = off_optimum(n=6)
    small = inf.TotalCorrelation("analytic-kl", num_data=5)
    with pytest.raises(ModelError, match="num_data = 5 is smaller than a batch of 6"):
        small.forward(terms_of(small, lg, x))
    with pytest.raises(ModelError, match="batches of at least 2"):
        small.forward(terms_of(small, lg, x[:1]))
    with pytest.raises(ModelError, match="sampling must be"):
        inf.TotalCorrelation("analytic-kl", 5, sampling="other")
    with pytest.raises(ModelError, match="which ImportanceWeighted is not"):
        inf.TotalCorrelation("iwae", 5)
    full, data = off_optimum("exact", n=6)
    with pytest.raises(ModelError, match="site 'z': the aggregate posterior needs a diagonal Gaussian"):
        inf.DIP("analytic-kl").forward(terms_of(inf.MonteCarloKL(), full, data))
    pair = CategoricalPair()
    terms = inf.trace_terms(pair.model, pair.guide, torch.randn(4, 2, dtype=torch.float64), gradient="score")
    with pytest.raises(ModelError, match="site 'label'"):
        inf.MMD("monte-carlo-kl").forward(terms)


def expected_kernel(a, s, b, t, length):
    """E k(u, v), u ~ N(a, s), v ~ N(b, t) (KNOWLEDGE 1.17)."""
    eye = torch.eye(len(a), dtype=a.dtype)
    factor = torch.linalg.det(eye + (s + t) / length**2) ** -0.5
    return factor * torch.exp(-0.5 * (a - b) @ torch.linalg.inv(s + t + length**2 * eye) @ (a - b))


@pytest.mark.slow
def test_squared_mmd_is_unbiased_for_the_closed_form():
    a, b = torch.tensor([0.5, -0.2], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    root = torch.tensor([[1.2, 0.0], [0.4, 0.7]], dtype=torch.float64)
    s, t, length = root @ root.mT, torch.eye(2, dtype=torch.float64), 1.3
    exact = (
        expected_kernel(a, s, a, s, length)
        + expected_kernel(b, t, b, t, length)
        - 2 * expected_kernel(a, s, b, t, length)
    )
    u = a + torch.randn(3000, 6, 2, dtype=torch.float64) @ root.mT
    v = torch.randn(3000, 8, 2, dtype=torch.float64)
    draws = torch.stack([squared_mmd(p, q, length) for p, q in zip(u, v, strict=True)])
    assert (draws < 0).any()
    assert_mean(draws, exact)


def test_info_vae_reduces_to_the_elbo_and_to_beta():
    lg, x = off_optimum(n=6)
    terms = terms_of(inf.AnalyticKL(), lg, x)
    elbo = inf.MMD("analytic-kl", alpha=0.0, scale=1.0).forward(terms)
    torch.testing.assert_close(elbo, inf.AnalyticKL().forward(terms))
    beta = inf.MMD("analytic-kl", alpha=0.7, scale=0.3).forward(terms)
    torch.testing.assert_close(beta, inf.Beta("analytic-kl", 0.3).forward(terms))
    torch.manual_seed(1)
    wasserstein = inf.MMD("analytic-kl", alpha=1.0, scale=5.0, length=1.5).forward(terms)
    torch.manual_seed(1)
    prior = torch.randn(1, 6, 2, dtype=x.dtype)[0]
    mmd = squared_mmd(terms.sites["z"].value[0], prior, 1.5)
    torch.testing.assert_close(wasserstein, 5 * mmd - terms.log_likelihood.mean())


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_is_the_covariance_penalty_of_numpy(kind):
    lg, x = off_optimum(n=6)
    terms = terms_of(inf.AnalyticKL(), lg, x)
    objective = inf.DIP("analytic-kl", kind, off_diagonal=3.0, diagonal=7.0)
    q = lg.encode(x)
    c = np.cov(q.mean.detach().numpy(), rowvar=False)
    if kind == "ii":
        c = c + np.diag(q.variance.detach().numpy().mean(0))
    off = c[0, 1] ** 2 + c[1, 0] ** 2
    penalty = 3 * off + 7 * ((np.diag(c) - 1) ** 2).sum()
    expected = inf.AnalyticKL().forward(terms).item() + penalty
    assert objective.forward(terms).item() == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ModelError, match="kind must be"):
        inf.DIP("analytic-kl", "iii")


@pytest.mark.parametrize(
    "objective",
    [
        inf.TotalCorrelation("analytic-kl", num_data=50),
        inf.MMD("analytic-kl"),
        inf.DIP("analytic-kl", "i"),
        inf.DIP("analytic-kl", "ii"),
    ],
    ids=repr,
)
def test_gradients_reach_guide_and_model(objective):
    lg, x = off_optimum(n=6)
    loss = objective.forward(terms_of(objective, lg, x))
    gradients = torch.autograd.grad(loss, list(lg.parameters()))
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)
    assert isinstance(objective.estimator, inf.AnalyticKL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inf.TotalCorrelation("analytic-kl", 1), "num_data must be an integer of at least 2, got 1"),
        (lambda: inf.TotalCorrelation("analytic-kl", 2.5), "num_data must be an integer"),
        (lambda: inf.TotalCorrelation("analytic-kl", 9, beta=-1), "beta must be at least 0 and finite, got -1"),
        (lambda: inf.TotalCorrelation("analytic-kl", 9, alpha="x"), "alpha must be a number, got 'x'"),
        (lambda: inf.MMD("analytic-kl", alpha=math.nan), "alpha must be finite, got nan"),
        (
            lambda: inf.MMD("analytic-kl", alpha=1.5),
            "alpha of at most 1 and alpha .* at least 1, got 1.5",
        ),
        (
            lambda: inf.MMD("analytic-kl", scale=0.5),
            "alpha of at most 1 and alpha .* at least 1, got 0.0",
        ),
        (lambda: inf.MMD("analytic-kl", length=0), "length must be positive and finite, got 0"),
        (lambda: inf.DIP("analytic-kl", off_diagonal=-1), "off_diagonal must be at least 0 and finite, got -1"),
        (lambda: inf.DIP("analytic-kl", diagonal="a"), "diagonal must be a number, got 'a'"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


# What the coordinates of a code are ------------------------------------------------------------------------


def shaped_pair(event):
    """The same pair with codes of another event shape, () and (1,) or (6,) and (2, 3)."""
    loading = torch.linspace(0.2, 1.0, math.prod(event)).reshape(event)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(event), 1.0).to_event(len(event)))
            mean = (z * loading).reshape(*z.shape[: z.dim() - len(event)], -1).sum(-1)
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(x):
        loc = x.reshape(-1, *(1,) * len(event)) / 2 * torch.ones(event)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.8).to_event(len(event)))

    return model, guide


@pytest.mark.parametrize("shapes", [((), (1,)), ((2, 3), (6,))])
@pytest.mark.parametrize(
    "objective",
    [
        inf.MMD("analytic-kl"),
        inf.DIP("analytic-kl"),
        inf.DIP("analytic-kl", kind="ii"),
        inf.TotalCorrelation("monte-carlo-kl", num_data=30),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_codes_of_any_event_shape_are_the_vectors_of_their_coordinates(objective, shapes):
    x = torch.linspace(-2.0, 2.0, 30)
    found = []
    for event in shapes:
        torch.manual_seed(1)
        found.append(float(objective(*shaped_pair(event))(x)))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
