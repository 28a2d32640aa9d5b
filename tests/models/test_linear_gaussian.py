"""The oracle is judged itself: scipy's densities, Bayes by hand, the formulas of the ELBO, and calculus."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.scenarios import draw_data, linear_gaussian

SIZES = [(1, 1), (3, 1), (5, 3), (2, 4), (12, 6)]
GUIDES = {
    "mean-field": lambda: "mean-field",
    "exact": lambda: "exact",
    "diagonal": lambda: pv.models.DiagonalPosterior("softplus"),
    "full-covariance": pv.models.FullCovariancePosterior,
}
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_guide = pytest.mark.parametrize("guide", GUIDES)
every_seed = pytest.mark.parametrize("seed", range(2))


def numbers(lg):
    """W, b, sigma and M = W'W / sigma^2 + I as NumPy arrays."""
    w, b, sigma = lg.weight.detach().numpy(), lg.bias.detach().numpy(), lg.sigma.item()
    return w, b, sigma, w.T @ w / sigma**2 + np.eye(w.shape[1])


def guide_moments(lg, x):
    """Mean [N, L] and covariance [N, L, L] of the present guide."""
    q = lg.encode(x)
    covariance = q.covariance_matrix if hasattr(q, "covariance_matrix") else torch.diag_embed(q.variance)
    return q.mean.detach().numpy(), covariance.detach().numpy()


@every_size
@every_seed
def test_log_evidence_is_scipys_marginal(size, seed):
    lg = linear_gaussian(seed, *size)
    x, (w, b, sigma, _) = draw_data(lg, seed=seed), numbers(lg)
    marginal = multivariate_normal(b, w @ w.T + sigma**2 * np.eye(len(b)))
    expected = np.atleast_1d(marginal.logpdf(x.numpy()))
    assert lg.log_evidence(x).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@every_size
@every_seed
def test_posterior_is_bayes_by_hand(size, seed):
    """Conditioning the joint Gaussian of (z, x) on x."""
    lg = linear_gaussian(seed, *size)
    x, (w, b, sigma, _) = draw_data(lg, seed=seed), numbers(lg)
    gain = w.T @ np.linalg.inv(w @ w.T + sigma**2 * np.eye(len(b)))
    posterior = lg.posterior(x)
    assert np.allclose(posterior.mean.detach(), (x.numpy() - b) @ gain.T, rtol=1e-9, atol=1e-10)
    covariance = np.eye(w.shape[1]) - gain @ w
    assert np.allclose(posterior.covariance_matrix.detach(), covariance, rtol=1e-8, atol=1e-10)


@every_size
@every_guide
def test_elbo_is_the_formula_of_its_guides_moments(size, guide):
    lg = linear_gaussian(3, *size, guide=GUIDES[guide]())
    x, (w, b, sigma, _) = draw_data(lg), numbers(lg)
    mu, s = guide_moments(lg, x)
    residual = x.numpy() - b - mu @ w.T
    distance = (residual**2).sum(1) + np.einsum("di,nij,dj->n", w, s, w)
    kl = 0.5 * (np.trace(s, axis1=1, axis2=2) + (mu**2).sum(1) - mu.shape[1] - np.linalg.slogdet(s).logabsdet)
    expected = -0.5 * len(b) * np.log(2 * np.pi * sigma**2) - distance / (2 * sigma**2) - kl
    assert lg.elbo(x).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@every_size
@every_guide
@every_seed
def test_evidence_minus_kl_to_the_posterior_is_the_elbo(size, guide, seed):
    """KL(q || p(z|x)) = 1/2 [tr(M S) + (mu - m)' M (mu - m) - L - log det S - log det M]."""
    lg = linear_gaussian(seed, *size, guide=GUIDES[guide]())
    x, (w, b, sigma, precision) = draw_data(lg, seed=seed), numbers(lg)
    mu, s = guide_moments(lg, x)
    difference = mu - np.linalg.solve(precision, w.T @ (x.numpy() - b).T / sigma**2).T
    gap = 0.5 * (
        np.einsum("ij,nji->n", precision, s)
        + np.einsum("ni,ij,nj->n", difference, precision, difference)
        - mu.shape[1]
        - np.linalg.slogdet(s).logabsdet
        - np.linalg.slogdet(precision).logabsdet
    )
    assert gap.min() > -1e-10
    assert (lg.log_evidence(x) - lg.elbo(x)).tolist() == pytest.approx(gap, rel=1e-9, abs=1e-10)


@every_size
def test_exact_guide_has_no_gap(size):
    lg = linear_gaussian(1, *size, guide="exact")
    x = draw_data(lg)
    torch.testing.assert_close(lg.elbo(x), lg.log_evidence(x), rtol=1e-11, atol=1e-11)


@every_size
def test_mean_field_gap_is_half_the_difference_of_log_determinants(size):
    lg = linear_gaussian(1, *size)
    x, (*_, precision) = draw_data(lg), numbers(lg)
    gap = 0.5 * (np.log(precision.diagonal()).sum() - np.linalg.slogdet(precision).logabsdet)
    assert (lg.log_evidence(x) - lg.elbo(x)).tolist() == pytest.approx([gap] * len(x), rel=1e-9, abs=1e-10)
    if size[1] > 1:
        assert gap > 1e-3


@every_size
@pytest.mark.parametrize("guide", ["mean-field", "exact"])
def test_closed_form_guides_are_where_the_gradient_vanishes(size, guide):
    lg = linear_gaussian(2, *size, guide=guide)
    x, parameters = draw_data(lg), dict(lg.guide.named_parameters())
    # Above the diagonal of a Cholesky factor there is nothing to move.
    moves = {n: torch.ones_like(p).tril() if "tril" in n else torch.ones_like(p) for n, p in parameters.items()}
    gradients = torch.autograd.grad(lg.elbo(x).sum(), list(parameters.values()))
    for gradient, move in zip(gradients, moves.values(), strict=True):
        assert (gradient * move).abs().max() < 1e-9
    with torch.no_grad():
        best = lg.elbo(x).sum()
        for name, parameter in parameters.items():
            parameter.add_(moves[name], alpha=0.01)
            assert lg.elbo(x).sum() < best
            parameter.sub_(moves[name], alpha=0.01)


def test_gradients_of_the_model_are_those_of_the_formula():
    """dW = (r mu' - W S) / sigma^2, db = r / sigma^2, dlog sigma = -D + (|r|^2 + tr W S W') / sigma^2."""
    lg = linear_gaussian(4, guide=pv.models.DiagonalPosterior())
    x, (w, b, sigma, _) = draw_data(lg, n=1), numbers(lg)
    (mu,), (s,) = guide_moments(lg, x)
    residual = x[0].numpy() - b - w @ mu
    lg.elbo(x).sum().backward()
    assert np.allclose(lg.weight.grad, (np.outer(residual, mu) - w @ s) / sigma**2, rtol=1e-9)
    assert np.allclose(lg.bias.grad, residual / sigma**2, rtol=1e-9)
    log_sigma = -len(b) + (residual @ residual + np.trace(w @ s @ w.T)) / sigma**2
    assert lg.model.likelihood.log_sigma.grad.item() == pytest.approx(log_sigma, rel=1e-9)


@every_guide
def test_estimators_agree_with_it_within_their_standard_error(guide):
    lg = linear_gaussian(0, guide=GUIDES[guide]())
    x, draws = draw_data(lg, n=3), 20_000
    with torch.no_grad():
        terms = inf.trace_terms(lg.model, lg.guide, x, num_particles=draws)
        exact = lg.elbo(x)
        floor = 1e-10 * (terms.log_likelihood.abs() + terms.log_prior.abs() + terms.log_guide.abs()).mean(0)
        for values in (terms.log_weight, terms.log_likelihood - terms.kl()):
            error = (values.mean(0) - exact).abs()
            assert (error <= 4 * values.std(0) / draws**0.5 + floor).all()


def test_reset_guide_follows_the_weights():
    lg = linear_gaussian(0, guide="exact")
    x = draw_data(lg)
    with torch.no_grad():
        lg.weight.mul_(1.5)
        lg.bias.add_(0.3)
        lg.model.likelihood.log_sigma.add_(-0.2)
    assert (lg.log_evidence(x) - lg.elbo(x)).min() > 0.01
    lg.reset_guide()
    torch.testing.assert_close(lg.elbo(x), lg.log_evidence(x), rtol=1e-11, atol=1e-11)


def test_reset_guide_leaves_a_posterior_module_alone():
    lg = linear_gaussian(0, guide=pv.models.DiagonalPosterior())
    before = {name: value.clone() for name, value in lg.state_dict().items()}
    lg.reset_guide()
    assert all(torch.equal(before[name], value) for name, value in lg.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_guide
def test_everything_is_in_the_dtype_given(guide, dtype):
    lg = pv.LinearGaussianVAE(torch.randn(4, 2, dtype=dtype), torch.zeros(4), 0.7, guide=GUIDES[guide]())
    assert {p.dtype for p in lg.parameters()} == {dtype}
    x = np.random.default_rng(0).normal(size=(3, 4))
    for value in (lg.log_evidence(x), lg.elbo(x), lg.posterior(x).mean, lg.reconstruct(x), lg.sample(3)):
        assert value.dtype == dtype


def test_parameters_are_copies_of_what_was_given():
    weight, bias = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    lg = pv.LinearGaussianVAE(weight, bias, 0.3)
    assert torch.equal(lg.weight, weight)
    assert torch.equal(lg.bias, bias)
    assert lg.sigma.item() == pytest.approx(0.3, rel=1e-15)
    weight.zero_()
    assert lg.weight.abs().max() > 0


@every_guide
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_save_and_load_keep_every_bit(guide, dtype, tmp_path):
    lg = pv.LinearGaussianVAE(torch.randn(4, 2, dtype=dtype), torch.randn(4), 0.7, guide=GUIDES[guide]())
    x = torch.randn(5, 4, dtype=dtype)
    lg.save(tmp_path)
    parts = {} if guide in ("mean-field", "exact") else {"guide": GUIDES[guide]()}
    loaded = pv.load(tmp_path, **parts)
    assert isinstance(loaded, pv.LinearGaussianVAE)
    assert torch.equal(loaded.elbo(x), lg.elbo(x))
    assert torch.equal(loaded.log_evidence(x), lg.log_evidence(x))


class OwnPosterior(pv.models.DiagonalPosterior):
    """A part that only its author can make again."""


def test_a_guide_of_ours_comes_back(tmp_path):
    model = linear_gaussian(0, guide=pv.models.DiagonalPosterior("softplus"))
    model.save(tmp_path)
    x = torch.randn(3, *model.event_shape, dtype=torch.float64)
    assert torch.equal(pv.load(tmp_path).elbo(x), model.elbo(x))


def test_load_asks_for_a_guide_of_the_users_own(tmp_path):
    linear_gaussian(0, guide=OwnPosterior()).save(tmp_path)
    with pytest.raises(ModelError, match=r"'guide' was a module of your own.*guide=\.\.\."):
        pv.load(tmp_path)


@pytest.mark.parametrize(
    ("weight", "bias", "sigma", "guide", "message"),
    [
        (torch.zeros(4), torch.zeros(4), 1.0, "exact", r"\[D, L\] and bias \[D\], got \[4\] and \[4\]"),
        (torch.zeros(4, 2), torch.zeros(2), 1.0, "exact", r"got \[4, 2\] and \[2\]"),
        (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4), 1.0, "exact", "float matrix"),
        (torch.zeros(4, 2), torch.zeros(4), 0.0, "exact", "sigma must be .*positive.*0.0"),
        (torch.zeros(4, 2), torch.zeros(4), float("nan"), "exact", "sigma must be .*positive.*nan"),
        (torch.zeros(4, 2), torch.zeros(4), float("inf"), "exact", "sigma must be .*positive.*inf"),
        (torch.zeros(4, 2), torch.zeros(4), 1.0, "meanfield", "guide must be 'mean-field', 'exact'.*'meanfield'"),
        (torch.zeros(4, 0), torch.zeros(4), 1.0, "exact", r"got \[4, 0\]"),
    ],
)
def test_what_does_not_fit_is_refused(weight, bias, sigma, guide, message):
    with pytest.raises(ModelError, match=message):
        pv.LinearGaussianVAE(weight, bias, sigma, guide=guide)


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_under_a_guide_that_is_no_gaussian_the_elbo_is_refused_by_name(name):
    plain = linear_gaussian(0)
    lg = pv.LinearGaussianVAE(
        plain.weight,
        plain.bias,
        1.0,
        guide=pv.models.MixturePosterior() if name == "mixture" else pv.models.FlowPosterior("planar"),
    )
    with pytest.raises(ModelError, match=f"posterior '{name}': the ELBO has a closed form under a Gaussian alone"):
        lg.elbo(draw_data(plain, 2))
