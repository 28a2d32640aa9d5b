"""Completion from seen quadrants: which pixels are read, which are scored, and exact values where all is linear."""

import math

import pytest
import torch
from pyro import poutine
from torch.distributions import MultivariateNormal, Normal

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.labelled.quadrants import hidden_quadrants
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_jointly

SHAPE, L, SIGMA = (1, 4, 4), 2, 0.7


def linear_gaussian(visible=1):
    """Everything linear and Gaussian, in float64, with weights of order one."""
    pair = pv.models.CompletionVAE(SHAPE, L, visible, "linear", likelihood={"name": "gaussian", "sigma": SIGMA})
    pair = pair.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return pair, torch.randn(6, *SHAPE, generator=generator, dtype=torch.float64)


def parts(pair, x):
    """What a linear model says of its hidden pixels: their values, b(c) + W m(c), W, and s(c)."""
    model = pair.model
    hidden = hidden_quadrants(SHAPE, pair.config["visible"]).flatten()
    c = torch.where(hidden, 0.0, x.flatten(1))
    guess = model.baseline[1](c) + model.decoder.decoder.bias
    weight = model.decoder.decoder.weight[hidden]
    scale = torch.exp(0.5 * model.prior.scale_head(c))
    return x.flatten(1)[:, hidden], guess[:, hidden], weight, model.prior.loc_head(c), scale


def exact_evidence(pair, x):
    """log N(x_hidden; b(c) + W m(c), W diag(s(c)^2) W' + SIGMA^2 I): [N]."""
    target, guess, weight, mean, scale = parts(pair, x)
    covariance = torch.einsum("dl,nl,el->nde", weight, scale**2, weight)
    covariance = covariance + SIGMA**2 * torch.eye(len(weight), dtype=torch.float64)
    return MultivariateNormal(guess + mean @ weight.T, covariance).log_prob(target)


def exact_elbo(pair, x):
    """Of a Gaussian guide, in closed form: [N]."""
    target, guess, weight, mean, scale = parts(pair, x)
    q = pair.guide.encode(x).base_dist
    residual = target - guess - q.loc @ weight.T
    spread = q.scale.square() @ weight.square().sum(0)
    size = target.shape[1]
    fit = -0.5 * (size * math.log(2 * math.pi * SIGMA**2) + (residual.square().sum(-1) + spread) / SIGMA**2)
    ratio = (q.scale / scale).square()
    return fit - 0.5 * (ratio + ((q.loc - mean) / scale).square() - 1 - ratio.log()).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize("visible", [1, 2, 3])
def test_evidence_of_the_linear_gaussian_is_that_of_the_hidden_pixels_given_the_seen(visible):
    """Within 4 standard errors of 20,000 draws, and the first-order bias of the bound."""
    pair, x = linear_gaussian(visible)
    with torch.no_grad():
        pair.guide.posterior.scale_head.bias.fill_(1.5)
        pair.guide.posterior.scale_head.weight.zero_()
        exact = exact_evidence(pair, x)
    found = pv.log_evidence(pair, x, num_samples=20_000)
    error = found.per_datum_stderr
    assert ((found.per_datum - exact).abs() < 4 * error + error**2).all()


@pytest.mark.slow
def test_value_and_gradient_of_the_linear_gaussian_are_unbiased():
    """All parameters of both programs jointly, 400 one-draw estimates against the closed form."""
    pair, x = linear_gaussian()
    parameters = list(pair.parameters())
    exact = exact_elbo(pair, x).mean()
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact, parameters)])
    torch.manual_seed(0)
    elbo, values, draws = inf.AnalyticKL(), [], []
    for _ in range(400):
        value = elbo.per_datum(pair.model, pair.guide, x).mean()
        values.append(value.detach())
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]))
    values, draws = torch.stack(values), torch.stack(draws)
    root = math.sqrt(len(values))
    assert abs(values.mean() - exact) < 4 * values.std() / root
    assert_jointly(draws.mean(0), draws.std(0) / root, wanted)


def test_the_quadrants_are_the_lower_left_the_left_half_and_all_but_the_lower_right():
    """Of an odd image too: the middle belongs to the lower and to the right half."""
    pictures = {1: ["##", "##", ".#"], 2: [".#", ".#", ".#"], 3: ["..", "..", ".#"]}
    for visible, rows in pictures.items():
        hidden = hidden_quadrants((3, 4, 6), visible)[:, [0, 1, 3]][:, :, [0, 5]]
        expected = torch.tensor([[pixel == "#" for pixel in row] for row in rows])
        assert torch.equal(hidden, expected.expand(3, 3, 2))
        assert hidden_quadrants((1, 28, 28), visible).sum() == (4 - visible) * 196
    assert hidden_quadrants((1, 5, 5), 1).sum() == 25 - 6


def small(visible=1):
    return pv.models.CompletionVAE(SHAPE, L, visible, MLP((8,)))


def images(n=5, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)).round()


def test_prior_and_completions_read_the_seen_pixels_alone_and_keep_them():
    pair, x = small(), images()
    hidden = pair.model.likelihood.hidden
    other = torch.where(hidden, 1 - x, x)
    assert torch.equal(pair.prior(x).mean, pair.prior(other).mean)
    found = []
    for data in (x, other):
        torch.manual_seed(0)
        found.append(pair.complete(data, 3, with_noise=True))
    assert found[0].shape == (3, 5, *SHAPE)
    assert torch.equal(*found)
    assert torch.equal(found[0][:, :, ~hidden], x[:, ~hidden].expand(3, -1, -1))
    assert len(found[0].flatten(2).unique(dim=0)) == 3
    assert not torch.equal(pair.encode(x).mean, pair.encode(other).mean)
    torch.manual_seed(0)
    one = pair.complete(x)[0]
    torch.manual_seed(0)
    assert torch.equal(pair.sample(5, x=x), one)


def test_moments_of_a_completion_are_those_of_its_draws():
    """Of the hidden pixels within 5 standard errors of 4000 draws; the seen ones do not vary."""
    pair, x = linear_gaussian(2)
    p = pair.decode(torch.zeros(6, L, dtype=torch.float64), x)
    draws, hidden = p.sample((4000,)), pair.model.likelihood.hidden
    assert (p.variance[:, ~hidden] == 0).all()
    torch.testing.assert_close(p.variance[:, hidden], torch.full_like(p.variance[:, hidden], SIGMA**2))
    assert (draws.var(0) - p.variance).abs().max() < 5 * SIGMA**2 * math.sqrt(2 / 4000)
    assert (draws.mean(0) - p.mean).abs().max() < 5 * SIGMA / math.sqrt(4000)


@pytest.mark.slow
def test_the_baseline_is_a_model_whose_elbo_is_its_log_likelihood():
    """Against a sum over hidden pixels of log N; trained by fit, and no draw changes anything."""
    likelihood = {"name": "gaussian", "sigma": SIGMA}
    pair, x = pv.models.CompletionBaseline(SHAPE, 2, MLP((8,)), likelihood), images()
    hidden = hidden_quadrants(SHAPE, 2)

    def log_likelihood():
        with torch.no_grad():
            mean = pair.model.baseline(torch.where(hidden, 0.0, x)).view_as(x)
        return Normal(mean, SIGMA).log_prob(x)[:, hidden].sum(-1)

    torch.testing.assert_close(pv.evaluate(pair, x, num_particles=3).elbo, log_likelihood())
    torch.testing.assert_close(pv.log_evidence(pair, x, num_samples=2).per_datum, log_likelihood().double())
    before = log_likelihood().mean()
    result = pv.fit(pair, x, epochs=40, lr=1e-2, device="cpu", progress=False)
    assert log_likelihood().mean() > before + 1
    assert result.history["train_kl"].abs().max() == 0
    found = pair.reconstruct(x)
    assert torch.equal(found[:, ~hidden], x[:, ~hidden])


def test_a_model_without_a_latent_site_is_compared_and_has_nothing_to_collapse():
    """Every draw is the same: no variance, no bias, and the evidence is the ELBO."""
    pair, x = pv.models.CompletionBaseline(SHAPE, 2, MLP((8,))), images()
    names = ["analytic-kl", "monte-carlo-kl", "iwae"]
    table = pv.compare_estimators(pair, x, names, num_repeats=3, progress=False)
    exact = pv.evaluate(pair, x).elbo.mean().item()
    assert table["value"].values == pytest.approx([exact] * 3, rel=1e-5)
    assert table["value_variance"].values == pytest.approx([0] * 3, abs=1e-8)
    assert table.attrs["evidence"] == pytest.approx(exact, rel=1e-5)
    with pytest.raises(ModelError, match="the model has no latent site"):
        pv.diagnostics.run_collapse(pair, x)


def test_models_of_a_trained_baseline_and_of_their_own_modules_come_back(tmp_path):
    baseline = pv.models.CompletionBaseline(SHAPE, 1, MLP((8,)))
    baseline.save(tmp_path / "baseline")
    assert torch.equal(pv.load(tmp_path / "baseline").reconstruct(images()), baseline.reconstruct(images()))
    pair = pv.models.CompletionVAE(SHAPE, L, 1, MLP((8,)), baseline=baseline.model.baseline)
    assert pair.model.baseline is baseline.model.baseline
    pair.save(tmp_path / "pair")
    with pytest.raises(ModelError, match="'baseline' was a module of your own"):
        pv.load(tmp_path / "pair")
    again = pv.load(tmp_path / "pair", baseline=pv.models.CompletionBaseline(SHAPE, 1, MLP((8,))).model.baseline)
    assert torch.equal(again.reconstruct(images()), pair.reconstruct(images()))


def test_simulated_images_keep_the_condition_of_their_code():
    pair, x = small(2), images()
    drawn = inf.pair.simulation.simulate(pair.model, x).x
    hidden = pair.model.likelihood.hidden
    assert torch.equal(drawn[:, ~hidden], x[:, ~hidden])
    assert not torch.equal(drawn, x)
    observed = poutine.trace(pair.model).get_trace(x).nodes["x"]
    assert torch.equal(observed["value"], x)


def test_a_missing_mask_image_or_pixel_is_refused_by_name():
    for visible in (0, 4, None, True, 1.5):
        with pytest.raises(ModelError, match="visible: expected the number of quadrants that are seen, 1, 2 or 3"):
            small(visible)
    for kind in (pv.models.CompletionVAE, pv.models.CompletionBaseline):
        with pytest.raises(ModelError, match=r"expected event_shape \(C, H, W\), got \(16,\)"):
            kind((16,), 2)
    pair, holes = small(), images()
    with pytest.raises(ModelError, match="needs images x, whose seen quadrants are the condition"):
        pair.model(size=3)
    with pytest.raises(ModelError, match="needs images x, whose seen quadrants are the condition"):
        pair.sample(3)
    with pytest.raises(ModelError, match="expected 3 images to complete, got 5"):
        pair.sample(3, x=images())
    with pytest.raises(ModelError, match=r"expected codes \[..., 5, L\] of 5 images, got \[3, 2\]"):
        pair.decode(torch.zeros(3, L), images())
    with pytest.raises(ModelError, match="the encoder, the decoder and the condition are made, got a tuple"):
        pv.models.CompletionVAE(SHAPE, L, network=(torch.nn.Flatten(), torch.nn.Linear(L, 16)))
    holes[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        pv.fit(pair, holes, progress=False)
    with pytest.raises(ModelError, match="pixels are hidden by the model, not by NaN"):
        pv.models.CompletionVAE(SHAPE, L, likelihood={"name": "missing-pixels", "of": "bernoulli"})
