"""q(z|x) of known heads against the formulas of its parameterisation."""

import copy
import pickle

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from scipy.stats import multivariate_normal, norm

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models.posteriors.mixture_posterior import DiagonalMixture
from ppl_vae.models.posteriors.posteriors import (
    DiagonalPosterior,
    FullCovariancePosterior,
    LowRankPosterior,
    posterior,
)
from ppl_vae.models.priors.priors import prior
from tests.models.table import CHAINS, GAUSSIAN, POSTERIORS

STANDARD_DEVIATIONS = {
    "log-variance": lambda h: np.exp(h / 2),
    "log-scale": np.exp,
    "softplus": lambda h: np.log1p(np.exp(h)),
    "softplus-variance": lambda h: np.sqrt(np.log1p(np.exp(h))),
}


def built(spec, features=4, latent_dim=3):
    part = posterior(spec)
    part.build(features, latent_dim)
    return part.double()


@pytest.mark.parametrize("scale", STANDARD_DEVIATIONS)
def test_diagonal_heads_give_the_mean_and_the_scale(scale):
    part, features = built({"name": "diagonal", "scale": scale}), torch.randn(6, 4, dtype=torch.float64)
    q = part(features)
    head = part.scale_head(features).detach().numpy()
    torch.testing.assert_close(q.mean, part.loc_head(features))
    assert np.allclose(q.stddev.detach(), STANDARD_DEVIATIONS[scale](head), rtol=1e-12)


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_full_covariance_is_the_triangle_times_its_transpose(latent_dim):
    part = built("full-covariance", latent_dim=latent_dim)
    features = torch.randn(6, 4, dtype=torch.float64)
    q, raw = part(features), part.scale_head(features).detach().numpy()
    assert raw.shape == (6, latent_dim * (latent_dim + 1) // 2)
    for n in range(6):
        lower = np.zeros((latent_dim, latent_dim))
        lower[np.tril_indices(latent_dim)] = raw[n]
        np.fill_diagonal(lower, np.log1p(np.exp(lower.diagonal())))
        assert np.allclose(q.covariance_matrix[n].detach(), lower @ lower.T, rtol=1e-10)


def test_full_covariance_leaves_the_diagonal():
    q = built("full-covariance")(torch.randn(6, 4, dtype=torch.float64))
    off_diagonal = q.covariance_matrix - torch.diag_embed(q.variance)
    assert off_diagonal.abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("name", GAUSSIAN)
def test_log_density_is_scipys(name):
    q = built(POSTERIORS[name])(torch.randn(3, 4, dtype=torch.float64))
    z = torch.randn(3, 3, dtype=torch.float64)
    covariance = q.covariance_matrix if hasattr(q, "covariance_matrix") else torch.diag_embed(q.variance)
    expected = [
        multivariate_normal(q.mean[n].detach(), covariance[n].detach().numpy()).logpdf(z[n]) for n in range(3)
    ]
    assert q.log_prob(z).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in POSTERIORS if name not in CHAINS])
def test_draws_are_reparameterised(name):
    part = built(POSTERIORS[name])
    q = part(torch.randn(5, 4, dtype=torch.float64))
    assert q.has_rsample
    q.rsample().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_is_the_factor_times_its_transpose_plus_a_diagonal(rank):
    part = built({"name": "low-rank", "rank": rank})
    features = torch.randn(6, 4, dtype=torch.float64)
    q = part(features)
    factor = part.factor_head(features).detach().numpy().reshape(6, 3, rank)
    diagonal = np.log1p(np.exp(part.scale_head(features).detach().numpy()))
    for n in range(6):
        expected = factor[n] @ factor[n].T + np.diag(diagonal[n])
        assert np.allclose(q.covariance_matrix[n].detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("part", [DiagonalPosterior("softplus"), FullCovariancePosterior(), LowRankPosterior(3)])
def test_configuration_makes_the_part_again(part):
    assert posterior(part.config).config == part.config
    assert type(posterior(part.config)) is type(part)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("diagnal", "unknown posterior 'diagnal'; did you mean 'diagonal'"),
        ({"name": "diagonal", "scale": "softpluss"}, "unknown scale 'softpluss'; did you mean 'softplus'"),
        ({"name": "diagonal", "rank": 2}, "posterior 'diagonal'.*rank"),
        (None, "posterior must be a name or an nn.Module, got None"),
    ],
)
def test_what_is_no_posterior_is_refused(spec, message):
    with pytest.raises(ModelError, match=message):
        posterior(spec)


def test_standard_prior_is_the_standard_normal():
    part = prior("standard")
    part.build(3)
    z = torch.randn(4, 3)
    expected = multivariate_normal(np.zeros(3), np.eye(3)).logpdf(z)
    assert part().log_prob(z).tolist() == pytest.approx(expected, rel=1e-6)
    assert (part().batch_shape, part().event_shape) == ((), (3,))
    assert list(part.parameters()) == []
    assert part.state_dict() == {}


def test_unknown_prior_is_named():
    with pytest.raises(ModelError, match="unknown prior 'standart'; did you mean 'standard'"):
        prior("standart")


FLOWS = ("iaf", "planar", "spline")


def flow(kind, latent_dim=2, features=4, num_transforms=2):
    """A flow whose steps bend visibly."""
    part = built(
        {"name": "flow", "kind": kind, "hidden": 8, "num_transforms": num_transforms}, features, latent_dim
    )
    with torch.no_grad():
        for parameter in part.steps.parameters():
            parameter.mul_(1.5)
    return part


@pytest.mark.parametrize("kind", FLOWS)
def test_flow_density_of_a_draw_is_the_change_of_variables_by_autograd(kind):
    features = torch.randn(1, 4, dtype=torch.float64)
    q = flow(kind, latent_dim=3)(features)
    noise = q.base_dist.sample()

    def bend(e):
        z = e.clone()
        for step in q.transforms:
            z = step(z)
        return z

    jacobian = torch.autograd.functional.jacobian(lambda e: bend(e)[0], noise)[:, 0]
    expected = q.base_dist.log_prob(noise) - torch.linalg.slogdet(jacobian).logabsdet
    assert q.log_prob(bend(noise)).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iaf", "mixture"])
def test_density_integrates_to_one(name):
    part = built(POSTERIORS["mixture"], latent_dim=2) if name == "mixture" else flow(name)
    q = part(torch.randn(1, 4, dtype=torch.float64))
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    with torch.no_grad():
        mass = q.log_prob(torch.cartesian_prod(axis, axis)).exp().sum().item() * (axis[1] - axis[0]).item() ** 2
    assert mass == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["iaf", "spline"])
def test_flow_knows_the_density_of_its_draw_as_of_any_other_value(kind):
    q = flow(kind, latent_dim=3)(torch.randn(5, 4, dtype=torch.float64)).expand((7, 5))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", FLOWS)
def test_a_flow_of_many_particles_is_the_flow_of_one_at_each(kind):
    part, features = flow(kind), torch.randn(5, 4, dtype=torch.float64)
    q = part(features).expand((3, 5))
    torch.manual_seed(1)
    z = q.rsample()
    torch.manual_seed(1)
    noise = q.base_dist.rsample()
    log_q = q.log_prob(z)
    for k in range(3):
        one = part(features)
        moved = noise[k]
        for step in one.transforms:
            moved = step(moved)
        torch.testing.assert_close(moved, z[k])
        torch.testing.assert_close(one.log_prob(moved), log_q[k])


@pytest.mark.parametrize("kind", FLOWS)
def test_flow_integrates_to_one_over_its_own_draws(kind):
    """E_q[r(z) / q(z)] = 1 for a normal density r inside q; one-sided errors of log q would show."""
    q = flow(kind)(torch.randn(1, 4, dtype=torch.float64)).expand((40_000,))
    with torch.no_grad():
        z = q.sample()
        log_q = q.log_prob(z)
        r = torch.distributions.MultivariateNormal(z.mean(0), 0.25 * torch.cov(z.T))
        ratio = (r.log_prob(z) - log_q).exp()
    assert abs(ratio.mean().item() - 1) < 5 * ratio.std().item() / 200


@pytest.mark.parametrize("kind", FLOWS)
def test_the_mean_of_a_flow_is_the_image_of_the_bases_mean_and_leaves_a_draw_alone(kind):
    q = flow(kind)(torch.randn(5, 4, dtype=torch.float64))
    z = q.rsample()
    before = q.log_prob(z)
    mean = q.mean
    assert torch.equal(q.log_prob(z), before)
    moved = q.base_dist.mean
    for step in q.transforms:
        moved = step(moved)
    torch.testing.assert_close(mean, moved)


@pytest.mark.parametrize("kind", FLOWS)
def test_every_parameter_of_a_flow_receives_a_gradient(kind):
    part = flow(kind, latent_dim=3)
    q = part(torch.randn(5, 4, dtype=torch.float64))
    z = q.rsample()
    (q.log_prob(z).sum() + z.square().sum()).backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("particles", [1, 3])
def test_which_estimators_a_flow_goes_under(kind, particles):
    vae = pv.VAE((4,), 2, posterior={"name": "flow", "kind": kind, "hidden": 8})
    x = torch.rand(5, 4).round()
    elbos = {
        name: inf.get_elbo(name, num_particles=particles)
        for name in ("monte-carlo-kl", "iwae", "sticking-the-landing", "analytic-kl")
    }
    for name in ("monte-carlo-kl", "iwae"):
        value = elbos[name].per_datum(vae.model, vae.guide, x)
        assert value.shape == (5,)
        assert value.isfinite().all()
    with pytest.raises(ModelError, match="site 'z': no closed-form KL between FlowDistribution"):
        elbos["analytic-kl"].per_datum(vae.model, vae.guide, x)
    path = elbos["sticking-the-landing"]
    if kind == "planar":
        with pytest.raises(ModelError, match=r"site 'z': FlowDistribution.*has no inverse"):
            path.per_datum(vae.model, vae.guide, x)
    else:
        values = []
        for elbo in (path, elbos["monte-carlo-kl"]):
            torch.manual_seed(4)
            values.append(elbo.per_datum(vae.model, vae.guide, x))
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)


def test_a_planar_flow_says_that_it_has_no_inverse():
    q = flow("planar")(torch.randn(5, 4, dtype=torch.float64))
    with pytest.raises(NotImplementedError, match="a planar flow has no inverse"):
        q.log_prob(torch.zeros(5, 2, dtype=torch.float64))


@pytest.mark.parametrize("kind", FLOWS)
def test_a_trained_flow_is_copied_and_stored(kind, tmp_path):
    vae, x = pv.VAE((4,), 2, posterior={"name": "flow", "kind": kind, "hidden": 8}), torch.rand(5, 4).round()
    inf.MonteCarloKL()(vae.model, vae.guide)(x).backward()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.sub_(parameter.grad, alpha=0.01)
    vae.save(tmp_path)
    for other in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae)), pv.load(tmp_path)):
        assert torch.equal(other.reconstruct(x), vae.reconstruct(x))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "flow", "kind": "iaff"}, "unknown kind 'iaff'; did you mean 'iaf'"),
        ({"name": "flow", "hidden": 1}, "'flow': hidden must be at least latent_dim = 2, got 1"),
        ({"name": "flow", "num_transforms": 0}, "num_transforms must be an integer of at least 1, got 0"),
        ({"name": "mixture", "num_components": 0}, "num_components must be an integer of at least 1, got 0"),
    ],
)
def test_a_flow_or_mixture_that_cannot_be_is_refused(spec, message):
    with pytest.raises(ModelError, match=message):
        pv.VAE((4,), 2, posterior=spec)


def test_one_latent_dimension_has_no_order_to_go_by():
    with pytest.raises(ModelError, match="'flow' needs a latent_dim of at least 2, got 1"):
        pv.VAE((4,), 1, posterior="flow")
    pv.VAE((4,), 1, posterior={"name": "flow", "kind": "planar"})


def gap(lg, x):
    """Mean log evidence minus ELBO, the guide's exact Kullback-Leibler gap up to Monte Carlo error."""
    with torch.no_grad():
        elbo = inf.MonteCarloKL(num_particles=200).per_datum(lg.model, lg.guide, x)
    return (lg.log_evidence(x) - elbo).mean().item()


@pytest.mark.slow
def test_iaf_recovers_a_correlated_posterior_where_the_diagonal_cannot():
    """The best diagonal guide's gap is 0.79 nats; the flow must leave no more than a fifth of it."""
    weight = torch.tensor([[1.0, 0.9], [0.8, 0.9], [0.9, 0.7]])
    best_diagonal = pv.LinearGaussianVAE(weight, torch.zeros(3), 0.5)
    x = torch.randn(300, 2) @ weight.mT + 0.5 * torch.randn(300, 3)
    diagonal_gap = (best_diagonal.log_evidence(x) - best_diagonal.elbo(x)).mean().item()
    lg = pv.LinearGaussianVAE(weight, torch.zeros(3), 0.5, guide=posterior({"name": "flow", "hidden": 16}))
    optimizer = torch.optim.Adam(lg.guide.parameters(), lr=1e-2)
    loss = inf.MonteCarloKL()(lg.model, lg.guide)
    for _ in range(300):
        optimizer.zero_grad()
        (loss(x[torch.randint(300, (128,))]) / 128).backward()
        optimizer.step()
    assert gap(lg, x) < 0.2 * diagonal_gap


def test_mixture_is_the_weighted_sum_of_its_components_with_their_moments():
    part, features = built(POSTERIORS["mixture"]), torch.randn(6, 4, dtype=torch.float64)
    q, z = part(features), torch.randn(6, 3, dtype=torch.float64)
    weight = part.weight_head(features).detach().softmax(-1).numpy()
    loc = part.loc_head(features).detach().numpy().reshape(6, 3, 3)
    scale = np.exp(part.scale_head(features).detach().numpy() / 2).reshape(6, 3, 3)
    density = (weight * norm(loc, scale).pdf(z.numpy()[:, None]).prod(-1)).sum(-1)
    assert q.log_prob(z).tolist() == pytest.approx(np.log(density).tolist(), rel=1e-9)
    mean = (weight[..., None] * loc).sum(1)
    np.testing.assert_allclose(q.mean.detach(), mean, rtol=1e-9)
    second = (weight[..., None] * (scale**2 + loc**2)).sum(1)
    np.testing.assert_allclose(q.variance.detach(), second - mean**2, rtol=1e-9)
    draws = q.expand((20_000, 6)).sample()
    standard_error = (q.variance / 20_000).sqrt().detach()
    assert ((draws.mean(0) - q.mean).abs() < 5 * standard_error).all()


def test_mixture_draws_have_the_gradient_of_the_expectation_in_every_parameter():
    """E[z_0^2 + z_0 z_1 + z_2] has a closed form; Pyro's own MixtureOfDiagNormals misses it in the weights."""
    number = 20_000
    exact = [torch.randn(3, 3), 0.3 + torch.rand(3, 3), torch.randn(3)]
    exact = [parameter.double().requires_grad_() for parameter in exact]
    each = [p.detach().expand(number, *p.shape).clone().requires_grad_() for p in exact]
    loc, scale, logits = each
    z = DiagonalMixture(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1)).rsample()
    (z[:, 0].square() + z[:, 0] * z[:, 1] + z[:, 2]).sum().backward()
    loc, scale, logits = exact
    moments = scale[:, 0].square() + loc[:, 0].square() + loc[:, 0] * loc[:, 1] + loc[:, 2]
    (logits.softmax(0) * moments).sum().backward()
    for one, all_of_it in zip(each, exact, strict=True):
        standard_error = one.grad.std(0) / number**0.5
        assert ((one.grad.mean(0) - all_of_it.grad).abs() <= 5 * standard_error + 1e-10).all()
