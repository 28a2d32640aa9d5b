"""With a linear decoder a VAE is probabilistic PCA: the recipes reach its optimum (KNOWLEDGE 0.8).

Lucas et al. 2019: for the sample covariance's eigenvalues lam_i, noise = mean of the discarded ones and
log p(x) = -1/2 [D log 2 pi + sum_i log lam_i + (D - L) log noise + D] on average, which the ELBO attains. Under a
diagonal guide the columns of W are orthogonal with |W_i|^2 + noise = lam_i, and s_i^2 = noise / lam_i.
"""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from tests.recipes.test_recipe_points import EIGENVALUES, NOISE, data_of_known_covariance, train

D, L, STEPS = 6, 4, 800
LEARNED = {"name": "gaussian", "sigma": "learned"}
OPTIONS = {
    "vae": {"likelihood": LEARNED},
    "ppca": {},
    "sigma-vae": {},
    "full-covariance-vae": {"likelihood": LEARNED},
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name == "ppca" else pytest.mark.slow) for name in OPTIONS],
)
def fitted(request):
    """The recipe's name, its trained VAE, and the data."""
    x = data_of_known_covariance()
    options = {"latent_dim": L, "network": "linear", "elbo": inf.AnalyticKL(4), **OPTIONS[request.param]}
    recipe = pv.make(request.param, (D,), **options)
    train(recipe, x, STEPS, batch_size=len(x), lr=0.1, schedule=inf.schedules.cosine(STEPS))
    return request.param, recipe.vae, x


def noise_variance(vae):
    likelihood = vae.model.likelihood
    return likelihood.variance if likelihood.sigma == "optimal" else likelihood.log_sigma.exp().square()


def exact_elbo(vae, x):
    """The mean ELBO in closed form (KNOWLEDGE 0.1)."""
    weight, bias, variance, q = vae.model.decoder.weight, vae.model.decoder.bias, noise_variance(vae), vae.encode(x)
    covariance = q.covariance_matrix if hasattr(q, "covariance_matrix") else torch.diag_embed(q.variance)
    residual = (x - bias - q.mean @ weight.mT).square().sum(-1) + (covariance * (weight.mT @ weight)).sum((-2, -1))
    log_likelihood = -0.5 * (D * (2 * math.pi * variance).log() + residual / variance)
    kl = 0.5 * (q.variance.sum(-1) + q.mean.square().sum(-1) - L - torch.logdet(covariance))
    return (log_likelihood - kl).mean().item()


@torch.no_grad()
def test_the_elbo_is_the_evidence_of_ppca(fitted):
    """To 0.005 nats, from below."""
    _, vae, x = fitted
    logs = EIGENVALUES[:L].log().sum().item() + (D - L) * math.log(NOISE**2)
    best = -0.5 * (D * math.log(2 * math.pi) + logs + D)
    assert best - 0.005 < exact_elbo(vae, x) < best + 1e-5


@torch.no_grad()
def test_the_noise_is_what_the_discarded_directions_have(fitted):
    """To 1%."""
    assert noise_variance(fitted[1]).item() == pytest.approx(NOISE**2, rel=0.01)


@torch.no_grad()
def test_the_decoder_spans_the_principal_directions(fitted):
    """Eigenvalues of W W' are lam_i - noise, to 4%, whatever the guide's covariance is."""
    weight = fitted[1].model.decoder.weight
    found = torch.linalg.eigvalsh(weight @ weight.mT).flip(0)[:L]
    torch.testing.assert_close(found, EIGENVALUES[:L] - NOISE**2, rtol=0.04, atol=0)


@torch.no_grad()
def test_under_a_diagonal_guide_columns_and_posterior_variances_are_the_principal_ones(fitted):
    """Norms and variances to 4%, cosines of columns to 0.05. A full covariance leaves W any rotation."""
    name, vae, x = fitted
    weight = vae.model.decoder.weight
    norms = weight.norm(dim=0)
    cosines = (weight.mT @ weight) / torch.outer(norms, norms) - torch.eye(L)
    if name == "full-covariance-vae":
        pytest.skip("its W may be turned by any rotation")
    order = norms.argsort(descending=True)
    torch.testing.assert_close(norms[order].square() + NOISE**2, EIGENVALUES[:L], rtol=0.04, atol=0)
    assert cosines.abs().max() < 0.05
    variances = vae.encode(x).variance.mean(0)[order]
    torch.testing.assert_close(variances, NOISE**2 / EIGENVALUES[:L], rtol=0.04, atol=0)
