"""Divergences between Gaussians against the formula written out, Monte Carlo under scipy, torch, and calculus."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, wishart
from torch.distributions import (
    AbsTransform,
    Bernoulli,
    ExpTransform,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    SoftmaxTransform,
    StudentT,
    TransformedDistribution,
    Wishart,
)
from torch.distributions import kl_divergence as torch_kl

from ppl_vae.kl import coordinate_kl, kl_divergence

DIMS = (1, 2, 5, 20)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def diagonal(g, *shape):
    loc = torch.randn(*shape, generator=g, dtype=torch.float64)
    return Independent(Normal(loc, 0.3 + torch.rand(*shape, generator=g, dtype=torch.float64)), 1)


def full(g, *shape):
    loc = torch.randn(*shape, generator=g, dtype=torch.float64)
    a = torch.randn(*shape, shape[-1], generator=g, dtype=torch.float64)
    return MultivariateNormal(loc, a @ a.mT / shape[-1] + 0.2 * torch.eye(shape[-1], dtype=torch.float64))


def low_rank(g, *shape):
    loc = torch.randn(*shape, generator=g, dtype=torch.float64)
    factor = torch.randn(*shape, 2, generator=g, dtype=torch.float64)
    return LowRankMultivariateNormal(loc, factor, 0.2 + torch.rand(*shape, generator=g, dtype=torch.float64))


def standard(g, *shape):
    zeros = torch.zeros(shape[-1], dtype=torch.float64)
    return Independent(Normal(zeros, torch.ones_like(zeros)), 1)


GAUSSIANS = {"diagonal": diagonal, "full": full, "low-rank": low_rank, "standard": standard}
PAIRS = [(q, p) for q in GAUSSIANS for p in GAUSSIANS]


def moments(d):
    """Mean and covariance matrix as NumPy arrays."""
    covariance = d.covariance_matrix if hasattr(d, "covariance_matrix") else torch.diag_embed(d.variance)
    return d.mean.numpy(), covariance.numpy()


def written_out(q, p):
    """KL(q || p) by inverse and slogdet: the textbook formula."""
    (m0, s0), (m1, s1) = moments(q), moments(p)
    inverse, difference = np.linalg.inv(s1), m1 - m0
    trace = np.trace(inverse @ s0, axis1=-2, axis2=-1)
    mahalanobis = np.einsum("...i,...ij,...j->...", difference, inverse, difference)
    return 0.5 * (
        trace + mahalanobis - m0.shape[-1] + np.linalg.slogdet(s1).logabsdet - np.linalg.slogdet(s0).logabsdet
    )


@pytest.mark.parametrize(("q", "p"), PAIRS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_formula_written_out(q, p, dim, seed):
    g = generator(seed)
    q, p = GAUSSIANS[q](g, 4, dim), GAUSSIANS[p](g, 4, dim)
    assert np.allclose(kl_divergence(q, p).numpy(), written_out(q, p), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("q", "p"), [("diagonal", "standard"), ("full", "standard"), ("full", "low-rank")])
@pytest.mark.parametrize("dim", [1, 3, 8])
def test_equals_monte_carlo_of_scipy_densities(q, p, dim):
    g, draws = generator(dim), 40_000
    q, p = GAUSSIANS[q](g, dim), GAUSSIANS[p](g, dim)
    (m0, s0), (m1, s1) = moments(q), moments(p)
    z = np.random.default_rng(dim).multivariate_normal(m0, s0, size=draws)
    log_ratio = multivariate_normal(m0, s0).logpdf(z) - multivariate_normal(m1, s1).logpdf(z)
    stderr = log_ratio.std() / draws**0.5
    assert abs(kl_divergence(q, p).item() - log_ratio.mean()) < 4 * stderr


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_the_diagonal_against_the_prior(dim, seed):
    g = generator(seed)
    mean = torch.randn(dim, generator=g, dtype=torch.float64).requires_grad_()
    variance = (0.1 + 2 * torch.rand(dim, generator=g, dtype=torch.float64)).requires_grad_()
    kl_divergence(Independent(Normal(mean, variance.sqrt()), 1), standard(g, dim)).backward()
    torch.testing.assert_close(mean.grad, mean.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(variance.grad, 0.5 - 0.5 / variance.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_the_full_covariance_against_the_prior(dim, seed):
    """dKL/dm = m and dKL/dS = (I - S^-1) / 2."""
    g = generator(seed)
    q = full(g, dim)
    mean, covariance = q.loc.requires_grad_(), q.covariance_matrix.detach().requires_grad_()
    kl = kl_divergence(MultivariateNormal(mean, covariance), standard(g, dim))
    by_mean, by_covariance = torch.autograd.grad(kl, (mean, covariance))
    expected = 0.5 * (torch.eye(dim, dtype=torch.float64) - torch.linalg.inv(covariance.detach()))
    torch.testing.assert_close(by_mean, mean.detach(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(0.5 * (by_covariance + by_covariance.mT), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("pair", [("full", "diagonal"), ("diagonal", "full"), ("full", "full")])
def test_gradients_equal_finite_differences(pair):
    g = generator(7)
    q, p = (GAUSSIANS[name](g, 3) for name in pair)
    leaves = [t.detach().clone().requires_grad_() for d in (q, p) for t in parameters(d)]

    def divergence(*leaves):
        return kl_divergence(rebuilt(pair[0], *leaves[:2]), rebuilt(pair[1], *leaves[2:]))

    assert torch.autograd.gradcheck(divergence, leaves)


def parameters(d):
    return (d.loc, d.scale_tril) if isinstance(d, MultivariateNormal) else (d.base_dist.loc, d.base_dist.scale)


def rebuilt(kind, loc, scale):
    if kind == "full":
        return MultivariateNormal(loc, scale_tril=scale.tril())
    return Independent(Normal(loc, scale), 1)


@pytest.mark.parametrize(
    ("q", "p"),
    [
        ("diagonal", "diagonal"),
        ("full", "full"),
        ("low-rank", "full"),
        ("full", "low-rank"),
        ("low-rank", "low-rank"),
    ],
)
def test_agrees_with_torch_where_torch_has_the_pair(q, p):
    g = generator(3)
    q, p = GAUSSIANS[q](g, 6, 4), GAUSSIANS[p](g, 6, 4)
    torch.testing.assert_close(kl_divergence(q, p), torch_kl(q, p), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("q", "p"), [("full", "diagonal"), ("low-rank", "diagonal"), ("diagonal", "low-rank")])
def test_covers_pairs_that_torch_lacks(q, p):
    g = generator(3)
    q, p = GAUSSIANS[q](g, 4), GAUSSIANS[p](g, 4)
    with pytest.raises(NotImplementedError):
        torch_kl(q, p)
    assert np.isclose(kl_divergence(q, p).item(), written_out(q, p), rtol=1e-10)


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_batches_broadcast(q, p):
    g = generator(11)
    q, p = GAUSSIANS[q](g, 6, 1, 3), GAUSSIANS[p](g, 2, 3)
    kl = kl_divergence(q, p)
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    assert kl.shape == shape
    wide_q, wide_p = q.expand(shape), p.expand(shape)
    assert np.allclose(kl.numpy(), written_out(wide_q, wide_p), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_is_zero_between_equals_and_positive_elsewhere(kind):
    q = GAUSSIANS[kind](generator(5), 3, 4)
    assert kl_divergence(q, q).abs().max() < 1e-12
    assert kl_divergence(q, full(generator(6), 3, 4)).min() > 0.01


def test_is_not_symmetric():
    g = generator(0)
    q, p = full(g, 3), diagonal(g, 3)
    assert abs(kl_divergence(q, p) - kl_divergence(p, q)) > 0.05


def test_diagonal_over_an_image_sums_every_event_dimension():
    g = generator(1)
    loc = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    q = Independent(Normal(loc, torch.full_like(loc, 0.5)), 2)
    p = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 2)
    expected = 0.5 * (loc.square() + 0.25 - 1 - np.log(0.25)).sum((1, 2))
    torch.testing.assert_close(kl_divergence(q, p), expected, rtol=1e-12, atol=0)


def test_of_two_plain_normals_is_per_entry():
    q, p = Normal(torch.tensor([0.0, 1.0]), 2.0), Normal(0.0, torch.tensor([1.0, 3.0]))
    expected = np.log([1 / 2, 3 / 2]) + (4 + np.array([0.0, 1.0])) / (2 * np.array([1.0, 9.0])) - 0.5
    assert np.allclose(kl_divergence(q, p), expected, rtol=1e-6)


@pytest.mark.parametrize("p", [diagonal, standard])
def test_coordinates_sum_to_the_whole(p):
    g = generator(2)
    q, p = diagonal(g, 5, 4), p(g, 5, 4)
    coordinates = coordinate_kl(q, p)
    assert coordinates.shape == (5, 4)
    one = [
        [written_out(marginal(q, n, j), marginal(p.expand(torch.Size([5])), n, j)) for j in range(4)]
        for n in range(5)
    ]
    assert np.allclose(coordinates, one, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(coordinates.sum(-1), kl_divergence(q, p), rtol=1e-12, atol=1e-12)


def marginal(d, n, j):
    return Independent(Normal(d.mean[n, j : j + 1], d.stddev[n, j : j + 1]), 1)


def test_coordinates_need_diagonals():
    g = generator(0)
    with pytest.raises(NotImplementedError, match="diagonal"):
        coordinate_kl(full(g, 3), standard(g, 3))


@pytest.mark.parametrize("q", ["diagonal", "full"])
def test_a_pair_that_is_not_gaussian_has_no_closed_form(q):
    heavy_tailed = Independent(StudentT(torch.full((3,), 4.0)), 1)
    with pytest.raises(NotImplementedError):
        kl_divergence(GAUSSIANS[q](generator(0), 3), heavy_tailed)


@pytest.mark.parametrize(("q", "p"), [(q, p) for q in ("diagonal", "full") for p in ("diagonal", "full")])
@pytest.mark.parametrize("dims", [(3, 1), (1, 3), (2, 3)])
def test_different_dimensions_are_refused(q, p, dims):
    g = generator(0)
    with pytest.raises(ValueError, match=rf"\[{dims[0]}\] and \[{dims[1]}\]"):
        kl_divergence(GAUSSIANS[q](g, dims[0]), GAUSSIANS[p](g, dims[1]))


@pytest.mark.parametrize(("q", "p"), [("diagonal", "standard"), ("full", "standard")])
def test_float32_keeps_five_digits(q, p):
    g = generator(9)
    q, p = GAUSSIANS[q](g, 50, 10), GAUSSIANS[p](g, 50, 10)
    single = kl_divergence(in_float32(q), in_float32(p))
    assert single.dtype == torch.float32
    assert np.allclose(single, written_out(q, p), rtol=1e-5)


def in_float32(d):
    if isinstance(d, MultivariateNormal):
        return MultivariateNormal(d.loc.float(), scale_tril=d.scale_tril.float())
    return Independent(Normal(d.mean.float(), d.stddev.float()), 1)


def test_bernoullis_of_other_batches_are_broadcast():
    """Torch's own divergence indexes one with the other's mask."""
    q, p = Bernoulli(torch.tensor([[0.2, 0.7, 1.0]])), Bernoulli(torch.tensor([[0.5], [0.1]]))
    written_out = torch.special.xlogy(q.probs, q.probs / p.probs) + torch.special.xlogy(
        1 - q.probs, (1 - q.probs) / (1 - p.probs)
    )
    torch.testing.assert_close(kl_divergence(q, p), written_out)


@pytest.mark.parametrize("transform", [AbsTransform(), SoftmaxTransform()], ids=["abs", "softmax"])
def test_what_folds_values_onto_one_another_has_no_closed_form(transform):
    """|N(-3, 1)| and |N(3, 1)| are one distribution; their bases are 18 nats apart."""
    q, p = (
        Independent(TransformedDistribution(Independent(Normal(torch.tensor([loc, 1.0]), 1.0), 1), [transform]), 0)
        for loc in (-3.0, 3.0)
    )
    with pytest.raises(NotImplementedError, match="not bijective"):
        kl_divergence(q, p)
    q, p = (TransformedDistribution(Normal(loc, 1.0), [ExpTransform()]) for loc in (-3.0, 3.0))
    assert kl_divergence(q, p) == pytest.approx(18.0)


def wisharts(seed, n):
    a = torch.randn(2, 3, 2, 2, generator=generator(seed), dtype=torch.float64)
    return Wishart(torch.tensor(n, dtype=torch.float64), a @ a.mT + 0.3 * torch.eye(2, dtype=torch.float64))


def test_wisharts_of_a_batch():
    """KL = E log q / p over scipy's draws of every batch element; torch's rule sums the degrees over the batch."""
    q, p = wisharts(0, [7.0, 9.0, 5.0]), wisharts(1, [5.0, 6.0, 4.5])
    found = kl_divergence(q, p)
    for index in np.ndindex(2, 3):
        sides = [wishart(float(each.df[index]), each.covariance_matrix[index].numpy()) for each in (q, p)]
        draws = np.moveaxis(sides[0].rvs(4000, random_state=index[1]), 0, -1)
        ratio = sides[0].logpdf(draws) - sides[1].logpdf(draws)
        assert abs(found[index] - ratio.mean()) < 4.5 * ratio.std() / 4000**0.5
    assert torch.allclose(kl_divergence(Independent(q, 1), Independent(p, 1)), found.sum(-1))
    assert torch.allclose(kl_divergence(q, q), torch.zeros_like(found), atol=1e-10)


def test_a_wishart_guide_has_gradients():
    """d KL / d n of W(n, I) against W(m, I) is (n - m)/4 psi_d'(n/2); torch's rule gives none."""
    df = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    eye = torch.eye(2, dtype=torch.float64)
    kl = kl_divergence(Wishart(df, eye), Wishart(torch.tensor(5.0, dtype=torch.float64), eye))
    (slope,) = torch.autograd.grad(kl, df)
    trigamma = torch.polygamma(1, torch.tensor([3.5, 3.0], dtype=torch.float64)).sum()
    assert torch.isclose(slope, (7 - 5) / 4 * trigamma)
