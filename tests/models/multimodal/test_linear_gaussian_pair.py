"""Two modalities of a linear-Gaussian model: posteriors and evidence in closed form, for every missing pattern."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from tests.inference.oracles import assert_mean

SIGMA, SIZES = 0.7, {"a": 2, "b": 3}
WEIGHT = np.array([0.8, -1.1, 0.5, 0.9, -0.4])
BIAS = np.array([0.3, 0.0, -0.2, 0.5, 0.1])
PATTERNS = {"both": (), "a": ("b",), "b": ("a",), "none": ("a", "b")}
BLOCKS = {"a": slice(0, 2), "b": slice(2, 5)}


def seen_of(hidden):
    return np.concatenate([np.arange(5)[BLOCKS[name]] for name in SIZES if name not in hidden] or [np.arange(0)])


def posterior(x, seen):
    """Mean and standard deviation of p(z | x_seen)."""
    precision = 1 + WEIGHT[seen] @ WEIGHT[seen] / SIGMA**2
    return WEIGHT[seen] @ (x[seen] - BIAS[seen]) / SIGMA**2 / precision, precision**-0.5


def evidence(x, seen):
    if not len(seen):
        return 0.0
    covariance = np.outer(WEIGHT[seen], WEIGHT[seen]) + SIGMA**2 * np.eye(len(seen))
    return multivariate_normal(BIAS[seen], covariance).logpdf(x[seen])


def pair(fusion, with_prior):
    """The model above; every expert is p(x_m | z) as a Gaussian in z, or p(z | x_m) itself."""
    vae = models.MultimodalVAE(
        (5,), 1, SIZES, fusion, network="linear", likelihood={"name": "gaussian", "sigma": SIGMA}
    ).double()
    with torch.no_grad():
        for name, decoder, head in zip(SIZES, vae.model.decoder.parts, vae.guide.heads, strict=True):
            w, b = (torch.from_numpy(part[BLOCKS[name]]) for part in (WEIGHT, BIAS))
            decoder.weight.copy_(w[:, None])
            decoder.bias.copy_(b)
            precision = w @ w / SIGMA**2 + with_prior
            head.loc_head.weight.copy_(w[None] / SIGMA**2 / precision)
            head.loc_head.bias.copy_(-(w @ b) / SIGMA**2 / precision)
            head.scale_head.weight.zero_()
            head.scale_head.bias.fill_(-math.log(precision))
    return vae


def data(n=4):
    g = np.random.default_rng(0)
    z = g.normal(size=(n, 1))
    return z * WEIGHT + BIAS + SIGMA * g.normal(size=(n, 5))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_product_is_exact_whatever_is_missing(pattern):
    x, hidden = data(), PATTERNS[pattern]
    vae, seen = pair("product", with_prior=False), seen_of(hidden)
    given = vae.hide(x, *hidden)
    q = vae.encode(given)
    for n, row in enumerate(x):
        mean, sd = posterior(row, seen)
        assert q.mean[n].item() == pytest.approx(mean, abs=1e-10)
        assert q.stddev[n].item() == pytest.approx(sd, rel=1e-10)
    wanted = torch.tensor([evidence(row, seen) for row in x], dtype=torch.float64)
    terms = inf.trace_terms(vae, given, num_particles=5)
    torch.testing.assert_close(terms.log_weight, wanted.expand(5, -1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(inf.AnalyticKL(3).per_datum(vae, given).shape, wanted.shape)


@pytest.mark.parametrize("pattern", ["a", "b", "none"])
@pytest.mark.parametrize(("fusion", "with_prior"), [("mixture", True), ("mixture-of-products", False)])
def test_a_mixture_is_exact_where_one_modality_is_there_and_the_prior_where_none_is(fusion, with_prior, pattern):
    x, hidden = data(), PATTERNS[pattern]
    vae, seen = pair(fusion, with_prior), seen_of(hidden)
    terms = inf.trace_terms(vae, vae.hide(x, *hidden), num_particles=5)
    wanted = torch.tensor([evidence(row, seen) for row in x], dtype=torch.float64)
    torch.testing.assert_close(terms.log_weight, wanted.expand(5, -1), rtol=1e-8, atol=1e-8)


def mixture_density(fusion, row):
    """q(z | a, b) as the papers write it, of posteriors in closed form."""
    seen = [seen_of(hidden) for name, hidden in PATTERNS.items() if name != "none"]
    parts = [posterior(row, s) for s in (seen if fusion == "mixture-of-products" else seen[1:])]
    return lambda z: np.mean([norm(mean, sd).pdf(z) for mean, sd in parts])


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "with_prior"), [("mixture", True), ("mixture-of-products", False)])
def test_a_mixture_of_both_has_the_papers_density_and_a_bound_that_lacks_its_divergence(fusion, with_prior):
    x = data(1)
    vae, everything = pair(fusion, with_prior), seen_of(())
    q = vae.encode(x)
    values = torch.linspace(-3, 3, 7).double()
    for n, row in enumerate(x):
        density = mixture_density(fusion, row)
        found = q.expand((7, 2)).log_prob(values[:, None, None].expand(7, 2, 1))[:, n]
        np.testing.assert_allclose(found.exp().detach(), [density(z) for z in values.tolist()], rtol=1e-8)
        mean, sd = posterior(row, everything)
        exact = norm(mean, sd)
        kl = quad(lambda z: density(z) * (math.log(density(z)) - exact.logpdf(z)), -6, 6, limit=200)[0]  # noqa: B023
        torch.manual_seed(n)
        draws = inf.trace_terms(vae, torch.from_numpy(row)[None], num_particles=4000).log_weight[:, 0].detach()
        assert_mean(draws, evidence(row, everything) - kl)
        assert kl > 0.01


def test_the_conditional_evidence_is_that_of_one_block_given_the_other():
    x = data()
    for fusion, with_prior in (("product", False), ("mixture", True)):
        vae = pair(fusion, with_prior)
        found = inf.conditional_evidence(vae, torch.from_numpy(x), vae.blocks.hidden(("b",)), 4000)
        for n, row in enumerate(x):
            wanted = evidence(row, seen_of(())) - evidence(row, seen_of(("b",)))
            error = found.per_datum_stderr[n].item()
            assert abs(found.per_datum[n].item() - wanted) < 4 * error + 1e-8


def test_conditional_draws_have_the_moments_of_one_block_given_the_other():
    x = torch.from_numpy(data(1))
    vae, a, b = pair("product", with_prior=False), BLOCKS["a"], BLOCKS["b"]
    torch.manual_seed(0)
    drawn = vae.complete(vae.hide(x, "b"), 40_000, with_noise=True)[:, 0, b]
    covariance = np.outer(WEIGHT, WEIGHT) + SIGMA**2 * np.eye(5)
    gain = covariance[b, a] @ np.linalg.inv(covariance[a, a])
    mean = BIAS[b] + gain @ (x[0, a].numpy() - BIAS[a])
    for j in range(3):
        assert_mean(drawn[:, j], mean[j])
    np.testing.assert_allclose(np.cov(drawn.T), covariance[b, b] - gain @ covariance[a, b], atol=0.03)


@pytest.mark.slow
def test_flows_are_fitted_to_what_one_modality_says_of_z():
    """Data of the model itself, and the exact joint guide: the flow's target is p(z | x_a), in closed form.

    A flow needs two latents: no decoder reads the second, whose posterior is the prior.
    """
    g = np.random.default_rng(1)
    x = torch.from_numpy(g.normal(size=(4000, 1)) * WEIGHT + BIAS + SIGMA * g.normal(size=(4000, 5))).float()
    vae = models.MultimodalVAE(
        (5,), 2, SIZES, "joint-flow", network="linear", likelihood={"name": "gaussian", "sigma": SIGMA}
    )
    mean, sd = posterior(np.zeros(5), seen_of(()))
    with torch.no_grad():
        for name, decoder in zip(SIZES, vae.model.decoder.parts, strict=True):
            decoder.weight.zero_()[:, 0].copy_(torch.from_numpy(WEIGHT[BLOCKS[name]]))
            decoder.bias.copy_(torch.from_numpy(BIAS[BLOCKS[name]]))
        joint = vae.guide.joint
        joint.loc_head.weight.zero_()[0].copy_(torch.from_numpy(WEIGHT) * sd**2 / SIGMA**2)
        joint.loc_head.bias.copy_(torch.tensor([float(mean), 0.0]))
        joint.scale_head.weight.zero_()
        joint.scale_head.bias.copy_(torch.tensor([2 * math.log(sd), 0.0]))
    for part in (vae.model.decoder, vae.guide.joint):
        part.requires_grad_(False)
    objective = inf.DistilledConditionals("monte-carlo-kl", vae.blocks.proper_subsets)
    pv.fit(
        vae, x, elbo=objective, epochs=20, lr=2e-2, batch_size=200, device="cpu", progress=False, schedule="cosine"
    )  # fmt: skip
    held_out = data(5)
    for hidden in (("a",), ("b",)):
        given = vae.hide(held_out, *hidden)
        torch.manual_seed(0)
        drawn = vae.encode(given).sample((4000,))[..., 0]
        for n, row in enumerate(held_out):
            mean, sd = posterior(row, seen_of(hidden))
            assert abs(drawn[:, n].mean().item() - mean) < 0.15 * sd
            assert abs(drawn[:, n].std().item() / sd - 1) < 0.12
