"""Missing pixels are integrated out: against the Gaussian marginal of the observed ones, and through fit."""

import pytest
import torch
from scipy import stats

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError

D, L, SIGMA = 5, 2, 0.6
GAUSSIAN = {"name": "missing-pixels", "of": {"name": "gaussian", "sigma": SIGMA}}


def linear_vae(likelihood=GAUSSIAN):
    torch.manual_seed(2)
    return pv.VAE((D,), L, network=(torch.nn.Linear(D, 4), torch.nn.Linear(L, D)), likelihood=likelihood).double()


def holed(n=7):
    """Data of which every coordinate is missing somewhere, one datum is whole and one all but empty."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, D, generator=generator, dtype=torch.float64)
    holes = torch.rand(n, D, generator=generator) < 0.4
    holes[0], holes[1] = False, True
    holes[1, 3] = False
    return x.masked_fill(holes, torch.nan)


def observed_marginal(vae, x):
    """log N(x_o; b_o, W_o W_o' + sigma^2 I) by scipy, and the posterior N(m, S) of z given x_o."""
    seen = ~x.isnan()
    w, b = vae.model.decoder.weight.detach()[seen], vae.model.decoder.bias.detach()[seen]
    covariance = w @ w.T + SIGMA**2 * torch.eye(len(b), dtype=torch.float64)
    log_p = stats.multivariate_normal(b.numpy(), covariance.numpy()).logpdf(x[seen].numpy())
    precision = torch.eye(L, dtype=torch.float64) + w.T @ w / SIGMA**2
    mean = torch.linalg.solve(precision, w.T @ (x[seen] - b) / SIGMA**2)
    return log_p, torch.distributions.MultivariateNormal(mean, precision_matrix=precision)


def test_the_elbo_is_that_of_the_observed_pixels_draw_by_draw():
    """log p(x_o|z) + log p(z) - log p(z|x_o) = log p(x_o), whatever z."""
    vae, x = linear_vae(), holed()
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=3)
    for n, datum in enumerate(x):
        log_p, posterior = observed_marginal(vae, datum)
        implied = terms.log_likelihood + terms.log_prior
        implied = implied[:, n] - posterior.log_prob(terms.sites["z"].value[:, n])
        assert implied.tolist() == pytest.approx([log_p] * 3, abs=1e-10)


def test_the_elbo_is_below_the_evidence_by_the_divergence_from_the_posterior():
    vae, x = linear_vae(), holed()
    draws = inf.trace_terms(vae.model, vae.guide, x, num_particles=4000).log_weight.detach()
    elbo, stderr, q = draws.mean(0), draws.std(0) / 4000**0.5, vae.encode(x)
    for n, datum in enumerate(x):
        log_p, posterior = observed_marginal(vae, datum)
        guide = torch.distributions.MultivariateNormal(q.mean[n], scale_tril=torch.diag_embed(q.stddev[n]))
        gap = torch.distributions.kl_divergence(guide, posterior).item()
        # Five standard errors: a false alarm in less than one seed of a hundred thousand.
        assert elbo[n].item() == pytest.approx(log_p - gap, abs=5 * stderr[n].item())


def test_the_encoder_sees_zero_in_the_holes():
    vae, x = linear_vae(), holed()
    assert torch.equal(vae.encode(x).mean, vae.encode(torch.where(x.isnan(), 0.0, x)).mean)
    assert torch.isfinite(vae.reconstruct(x)).all()


def test_whole_data_have_the_numbers_of_the_inner_likelihood():
    with_holes, without = linear_vae(), linear_vae(GAUSSIAN["of"])
    x, z = torch.randn(4, D, dtype=torch.float64), torch.randn(4, L, dtype=torch.float64)
    torch.testing.assert_close(with_holes.decode(z).log_prob(x), without.decode(z).log_prob(x))


def test_optimal_sigma_is_of_the_observed_pixels():
    vae, x = linear_vae({"name": "missing-pixels", "of": {"name": "gaussian", "sigma": "optimal"}}), holed()
    p = inf.trace_terms(vae.model, vae.guide, x).observations["x"].p
    error = (x - p.mean).square()[~x.isnan()]
    assert p.variance.flatten()[0].item() == pytest.approx(error.mean().item(), rel=1e-12)
    assert vae.model.likelihood.likelihood.variance.item() == pytest.approx(error.mean().item(), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["standard", {"name": "vamp", "num_components": 3}])
def test_fit_trains_on_holes_and_validates_on_them(prior):
    torch.manual_seed(0)
    x = (torch.randn(80, 2) @ torch.randn(2, D)).masked_fill(torch.rand(80, D) < 0.3, torch.nan)
    vae = pv.VAE((D,), L, likelihood=GAUSSIAN, prior=prior)
    vae.initialise(x)
    options = {"elbo": "monte-carlo-kl", "batch_size": 20, "lr": 1e-2, "device": "cpu", "progress": False}
    history = pv.fit(vae, x.numpy(), epochs=20, validation=0.2, **options).history
    assert history["validation_elbo"].iloc[-1] > history["validation_elbo"].iloc[0] + 1
    assert all(torch.isfinite(p).all() for p in vae.parameters())
    pv.fit(vae, x, epochs=1, validation=x[:10], **options)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_binary_data_with_holes_are_diagnosed(n):
    """However many they are; replicates are whole, and what is observed keeps its holes."""
    x = torch.rand(n, D, generator=torch.Generator().manual_seed(0)).round()
    x[0, 1] = torch.nan
    vae = pv.VAE((D,), L, likelihood={"name": "missing-pixels", "of": "bernoulli"})
    found = pv.inference_data(vae, x, num_samples=30, num_predictive=3)
    replicated = torch.from_numpy(found["posterior_predictive"]["x"].to_numpy())
    assert replicated.shape == (1, 3, n, D)
    assert set(replicated.unique().tolist()) <= {0.0, 1.0}
    observed = torch.from_numpy(found["observed_data"]["x"].to_numpy())
    assert torch.equal(observed.isnan(), x.isnan())


def test_other_models_and_other_values_are_still_refused():
    x = holed().float()
    with pytest.raises(DataError, match="NaN or infinite values, the first at index"):
        pv.fit(pv.VAE((D,), L, likelihood="gaussian"), x, batch_size=2, progress=False)
    with pytest.raises(DataError, match="NaN or infinite values, the first at index"):
        pv.fit(pv.VAE((D,), L, likelihood=GAUSSIAN), x / 0, batch_size=2, progress=False)
    with pytest.raises(DataError, match="likelihood 'bernoulli' needs binary data"):
        pv.models.MissingPixels("bernoulli").check(x)
    pv.models.MissingPixels("continuous-bernoulli").check(torch.full((2, 3), torch.nan))


class Joint(pv.models.Likelihood):
    """A user's own, with coordinates that depend on one another."""

    name = "joint"

    def forward(self, features, event_dim):
        return torch.distributions.MultivariateNormal(features.squeeze(-2), torch.eye(features.shape[-1]))

    def check(self, x):
        pass


def test_a_likelihood_whose_coordinates_depend_on_one_another_is_refused():
    with pytest.raises(ModelError, match="independent over coordinates"):
        pv.models.MissingPixels(Joint())(torch.zeros(2, 1, 3), 1)


def test_a_part_of_the_users_own_is_asked_for_on_load(tmp_path):
    vae = pv.VAE((D,), L, likelihood=pv.models.MissingPixels(Joint()))
    assert vae.config["likelihood"] is None
    vae.save(tmp_path)
    with pytest.raises(ModelError, match="'likelihood' was a module of your own"):
        pv.load(tmp_path)
