"""The discriminator against the closed form of Gaussian codes (KNOWLEDGE 1.14, 1.15); who gets which gradient."""

import math

import pyro
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.objectives.density_ratio import permute_coordinates
from ppl_vae.inference.training.settings import Settings
from tests.inference.comparisons import off_optimum
from tests.inference.small_runs import N, require_same, small_data, small_vae, train

SMALL = {"hidden": (16, 16)}


def gaussian_codes(n):
    """A linear-Gaussian pair, data [n, 4] of N(0, I), and the covariance [3, 3] of the aggregate posterior."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.tensor([[0.9, -0.7, 0.8, 0.3]], dtype=torch.float64)
    gain = shared + 0.4 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    scale = torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64)
    lg = pv.LinearGaussianVAE(torch.ones(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), 1.0)
    with torch.no_grad():
        lg.guide.posterior.gain.copy_(gain)
        lg.guide.posterior.log_scale.copy_(scale.log())
    covariance = gain @ gain.mT + torch.diag(scale**2)
    return lg, torch.randn(n, 4, generator=generator, dtype=torch.float64), covariance


def exact_total_correlation(covariance):
    return 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)).item()


class Quadratic(nn.Module):
    """A discriminator of the kind that the best one for Gaussian codes is: c + z' B z."""

    def __init__(self, latent_dim):
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.matrix = nn.Parameter(torch.zeros(latent_dim, latent_dim, dtype=torch.float64))

    def forward(self, z):
        return self.constant + (z @ self.matrix * z).sum(-1, keepdim=True)


@pytest.mark.slow
def test_the_best_quadratic_discriminator_is_the_log_ratio_of_the_gaussians():
    """The total correlation, 0.82 nats, and all coefficients to 0.05, two to five standard errors."""
    lg, x, covariance = gaussian_codes(40_000)
    objective = inf.DensityRatio("analytic-kl", **SMALL)
    with torch.no_grad():
        terms = objective.run(lg.model, lg.guide, x)
    best = objective.discriminator.network = Quadratic(3)
    optimizer = torch.optim.LBFGS(best.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = objective.cross_entropy(terms)
        loss.backward()
        return loss

    optimizer.step(closure)
    exact = exact_total_correlation(covariance)
    assert exact > 0.5
    assert objective.total_correlation(terms).item() == pytest.approx(exact, abs=0.05)
    assert best.constant.item() == pytest.approx(exact, abs=0.05)
    ratio = -0.5 * (torch.linalg.inv(covariance) - torch.diag(covariance.diagonal().reciprocal()))
    symmetric = 0.5 * (best.matrix + best.matrix.mT).detach()
    torch.testing.assert_close(symmetric, ratio, rtol=0, atol=0.05)


@pytest.mark.slow
def test_fit_trains_the_discriminator_to_the_total_correlation_of_a_frozen_pair():
    """A network of two layers that fit trains alone comes within 10%."""
    lg, x, covariance = gaussian_codes(4096)
    lg.requires_grad_(False)
    objective = inf.DensityRatio("analytic-kl", gamma=1.0, hidden=(64, 64))
    schedule = inf.schedules.cosine(40 * 8)
    train(lg, x, elbo=objective, epochs=40, batch_size=512, lr=5e-3, schedule=schedule)
    with torch.no_grad():
        found = objective.total_correlation(objective.run(lg.model, lg.guide, gaussian_codes(20_000)[1])).item()
    assert found == pytest.approx(exact_total_correlation(covariance), rel=0.1)


def test_permuted_codes_have_the_same_coordinates_in_orders_of_their_own():
    codes = torch.arange(24.0).reshape(1, 8, 3)
    permuted = permute_coordinates(codes)
    assert torch.equal(permuted.sort(1).values, codes)
    together = (permuted - torch.arange(3.0)).remainder(3) == 0
    assert together.all()
    rows = permuted.floor_divide(3)[0]
    assert not torch.equal(rows[:, 0], rows[:, 1])
    assert not torch.equal(rows[:, 1], rows[:, 2])


def run_with(objective, n=8):
    lg, x = off_optimum(n=n)
    torch.manual_seed(3)
    terms = objective.run(lg.model, lg.guide, x)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return lg, terms


def test_with_gamma_of_zero_it_is_the_plain_elbo_with_its_gradient():
    objective = inf.DensityRatio("analytic-kl", gamma=0.0, **SMALL)
    lg, terms = run_with(objective)
    ours, plain = objective.forward(terms), inf.AnalyticKL().forward(terms)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-12)
    parameters = list(lg.parameters())
    for found, expected in zip(
        torch.autograd.grad(ours, parameters, retain_graph=True),
        torch.autograd.grad(plain, parameters),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("particles", [1, 3])
def test_the_loss_is_the_elbos_plus_gamma_times_the_mean_log_ratio(particles):
    objective = inf.DensityRatio(inf.MonteCarloKL(particles), gamma=7.0, **SMALL)
    _, terms = run_with(objective)
    expected = inf.MonteCarloKL().forward(terms)
    with torch.no_grad():
        logit = objective.discriminator.network(terms.sites["z"].value)
    assert objective.forward(terms).item() == pytest.approx((expected + 7 * logit.mean()).item(), rel=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 7.0])
def test_the_pair_and_the_discriminator_each_get_the_gradient_of_their_own_loss_alone(gamma):
    objective = inf.DensityRatio("analytic-kl", gamma=gamma, **SMALL)
    lg, terms = run_with(objective)
    pair, own = list(lg.parameters()), list(objective.parameters())
    torch.manual_seed(5)
    found = torch.autograd.grad(objective.forward(terms), pair + own, retain_graph=True)
    penalised = inf.AnalyticKL().forward(terms) + gamma * objective.total_correlation(terms)
    torch.manual_seed(5)
    cross_entropy = objective.cross_entropy(terms)
    expected = torch.autograd.grad(penalised, pair, retain_graph=True) + torch.autograd.grad(cross_entropy, own)
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert all(g is None for g in torch.autograd.grad(penalised, own, allow_unused=True, retain_graph=True))
    torch.manual_seed(5)
    own_loss = objective.cross_entropy(terms)
    assert all(g is None for g in torch.autograd.grad(own_loss, pair, allow_unused=True))


def test_the_cross_entropy_of_a_discriminator_that_knows_nothing_is_log_two():
    objective = inf.DensityRatio("analytic-kl", **SMALL)
    _, terms = run_with(objective)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.zero_()
    assert objective.cross_entropy(terms).item() == pytest.approx(math.log(2), rel=1e-12)
    assert objective.total_correlation(terms).item() == 0


def test_its_parameters_are_trained_with_the_papers_betas_and_are_the_only_ones():
    settings = Settings(elbo=inf.DensityRatio("analytic-kl", **SMALL), lr=3e-4)
    vae, x = small_vae(), small_data()
    settings.objective.run(vae.model, vae.guide, x)
    parameters = [*vae.parameters(), *settings.objective.parameters()]
    theirs, ours = settings.make_optimizer(parameters).param_groups
    assert (theirs["betas"], ours["betas"]) == ((0.9, 0.999), (0.5, 0.9))
    assert theirs["lr"] == ours["lr"] == 3e-4
    assert [id(p) for p in theirs["params"]] == [id(p) for p in vae.parameters()]
    assert [id(p) for p in ours["params"]] == [id(p) for p in settings.objective.parameters()]


def test_a_rate_of_its_own_moves_the_discriminator_alone_and_no_faster():
    """Adam's first step is the rate, for every parameter with a gradient."""
    objective = inf.DensityRatio("analytic-kl", **SMALL, discriminator_lr=1e-6)
    vae, x = small_vae(), small_data()
    objective.run(vae.model, vae.guide, x)
    parameters = [*vae.parameters(), *objective.parameters()]
    before = [p.detach().clone() for p in parameters]
    optimizer = Settings(elbo=objective, lr=1e-3).make_optimizer(parameters)
    objective.forward(objective.run(vae.model, vae.guide, x)).backward()
    optimizer.step()
    own = {id(p) for p in objective.parameters()}
    for p, start in zip(parameters, before, strict=True):
        rate = 1e-6 if id(p) in own else 1e-3
        assert (p.detach() - start).abs().max().item() == pytest.approx(rate, rel=0.05)


@pytest.mark.slow
def test_a_second_run_starts_with_a_discriminator_of_its_own_and_a_resumed_one_goes_on(tmp_path):
    objective = inf.DensityRatio("analytic-kl", gamma=5.0, **SMALL)
    whole = train(small_vae(), small_data(), elbo=objective, batch_size=N)
    require_same(train(small_vae(), small_data(), elbo=objective, batch_size=N), whole)
    for epochs in (1, 3):
        options = {"elbo": objective, "batch_size": N, "epochs": epochs, "out_dir": tmp_path, "resume": epochs > 1}
        parts = train(small_vae(), small_data(), **options)
    require_same(parts, whole)


def test_stock_svi_trains_the_pair_and_the_discriminator_also_after_a_new_start():
    """On the cross entropy: one step of SGD moves each parameter of the discriminator against that gradient."""
    vae, x = small_vae(), small_data()
    objective = inf.DensityRatio("analytic-kl", gamma=5.0, **SMALL)
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 1e-4}), loss=objective)
    for _ in range(2):
        objective.reset()
        with torch.no_grad():
            objective.run(vae.model, vae.guide, x)
        own = list(objective.parameters())
        before, state = [p.detach().clone() for p in own], torch.get_rng_state()
        loss = objective(vae.model, vae.guide)(x)
        gradients = torch.autograd.grad(loss, own)
        torch.set_rng_state(state)
        svi.step(x)
        for parameter, start, gradient in zip(objective.parameters(), before, gradients, strict=True):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(parameter.detach(), start - 1e-4 * gradient)


def test_refusals():
    with pytest.raises(ModelError, match="DensityRatio needs reparameterised draws, which ScoreFunction does"):
        inf.DensityRatio("score-function")
    with pytest.raises(ModelError, match="gamma must be at least 0"):
        inf.DensityRatio("analytic-kl", gamma=-1.0)
    with pytest.raises(ModelError, match="hidden must be an integer of at least 1, got 0"):
        inf.DensityRatio("analytic-kl", hidden=(8, 0))
    with pytest.raises(ModelError, match="hidden must be a sequence of layers' sizes"):
        inf.DensityRatio("analytic-kl", hidden=8)
    with pytest.raises(ModelError, match="discriminator_lr must be positive and finite, got 0"):
        inf.DensityRatio("analytic-kl", discriminator_lr=0)
    with pytest.raises(ModelError, match="DensityRatio weights the KL itself"):
        inf.Beta(inf.DensityRatio("analytic-kl"), 2.0)
    lg, x = off_optimum(n=3)
    objective = inf.DensityRatio("analytic-kl", **SMALL)
    with pytest.raises(ModelError, match="no discriminator yet"):
        objective.forward(inf.trace_terms(lg.model, lg.guide, x))
    with pytest.raises(ModelError, match="batches of at least 4 data"):
        objective.forward(objective.run(lg.model, lg.guide, x))
    with pytest.raises(ModelError, match="DensityRatio needs batches of at least 4 data"):
        train(small_vae(), small_data(), elbo=objective, batch_size=16)
