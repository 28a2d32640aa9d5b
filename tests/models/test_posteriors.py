"""q(z|x) of known heads against the formulas of its parameterisation."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ppl_vae.errors import ModelError
from ppl_vae.models.posteriors import DiagonalPosterior, FullCovariancePosterior, LowRankPosterior, posterior
from ppl_vae.models.priors import prior
from tests.models.table import POSTERIORS

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


@pytest.mark.parametrize("name", POSTERIORS)
def test_log_density_is_scipys(name):
    q = built(POSTERIORS[name])(torch.randn(3, 4, dtype=torch.float64))
    z = torch.randn(3, 3, dtype=torch.float64)
    covariance = q.covariance_matrix if hasattr(q, "covariance_matrix") else torch.diag_embed(q.variance)
    expected = [
        multivariate_normal(q.mean[n].detach(), covariance[n].detach().numpy()).logpdf(z[n]) for n in range(3)
    ]
    assert q.log_prob(z).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", POSTERIORS)
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
