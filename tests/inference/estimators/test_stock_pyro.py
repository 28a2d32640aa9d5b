"""Side by side with stock Pyro: the same values on the same pair, and a drop-in for its ELBOs."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.estimators.test_elbo import library_model
from tests.inference.oracles import assert_mean, elbo, largest_z, workbench

pytestmark = pytest.mark.usefixtures("one_thread")

# Ours and Pyro's; both take the number of particles.
TWINS = {
    "monte-carlo-kl": (inf.MonteCarloKL, Trace_ELBO, {}),
    "analytic-kl": (inf.AnalyticKL, TraceMeanField_ELBO, {}),
    "iwae": (inf.ImportanceWeighted, RenyiELBO, {"alpha": 0}),
    "renyi": (lambda k: inf.Renyi(k, alpha=0.5), RenyiELBO, {"alpha": 0.5}),
}


def gaussian_pair():
    p, x = workbench(0, 6, 3)
    return library_model(p, x), x


def bernoulli_pair():
    vae = pv.VAE((5,), 2, network="mlp", seed=1).double()
    return vae, torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)


def stock(kind, particles, **options):
    vectorised = {"vectorize_particles": particles > 1, "max_plate_nesting": 1}
    return kind(num_particles=particles, **vectorised, **options)


@pytest.mark.slow
@pytest.mark.parametrize("make_pair", [gaussian_pair, bernoulli_pair])
@pytest.mark.parametrize("name", TWINS)
def test_means_over_ten_thousand_draws_are_pyros(name, make_pair):
    ours, kind, options = TWINS[name]
    particles = 3 if kind is RenyiELBO else 1
    vae, x = make_pair()
    copies = x.expand(100, len(x))
    torch.manual_seed(0)
    with torch.no_grad():
        draws = ours(particles).per_datum(vae.model, vae.guide, x.expand(10_000, len(x)))
    torch.manual_seed(1)
    twin = stock(kind, particles, **options)
    means = torch.tensor([-twin.loss(vae.model, vae.guide, copies) / 100 for _ in range(100)], dtype=torch.float64)
    error = (draws.var() / len(draws) + means.var() / len(means)).sqrt()
    assert largest_z(draws.mean(), error, means.mean(), magnitude=1.0) < 4
    assert error < 0.01 * means.mean().abs()


@pytest.mark.parametrize(
    ("name", "particles"),
    # Pyro's RenyiELBO wants several particles.
    [(name, k) for name in TWINS for k in (1, 4) if (TWINS[name][1], k) != (RenyiELBO, 1)],
)
def test_one_seed_gives_pyros_very_number_and_gradient(name, particles):
    ours, kind, options = TWINS[name]
    vae, x = gaussian_pair()
    batch = torch.stack([x, x + 1, x - 1])
    values, gradients = [], []
    for loss in (ours(particles), stock(kind, particles, **options)):
        vae.zero_grad()
        torch.manual_seed(0)
        values.append(loss.loss_and_grads(vae.model, vae.guide, batch))
        gradients.append({name: p.grad.clone() for name, p in vae.named_parameters()})
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-9, atol=1e-9)


# Drop-in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", inf.list_estimators())
def test_stock_svi_takes_every_estimator(name):
    vae = pv.VAE((5,), 2, seed=0).double()
    x = torch.bernoulli(torch.full((8, 5), 0.5, dtype=torch.float64))
    before = {name: p.detach().clone() for name, p in vae.named_parameters()}
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), loss=inf.get_elbo(name))
    losses = [svi.step(x) for _ in range(3)]
    assert all(math.isfinite(loss) for loss in losses)
    for name, parameter in vae.named_parameters():
        assert not torch.equal(before[name], parameter), name
    names = list(pyro.get_param_store().keys())
    for name, _ in [*vae.model.named_parameters(), *vae.guide.named_parameters()]:
        assert any(stored.endswith(name) for stored in names), name
    assert math.isfinite(svi.evaluate_loss(x))


@pytest.mark.slow
def test_stock_trace_elbo_trains_our_vae():
    vae = pv.VAE((5,), 2, seed=0)
    x = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0]]).repeat(20, 1)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), loss=Trace_ELBO())
    losses = [svi.step(x) for _ in range(100)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.slow
def test_our_estimator_trains_our_vae_under_stock_svi():
    vae = pv.VAE((5,), 2, seed=0)
    x = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0]]).repeat(20, 1)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), loss=inf.AnalyticKL())
    losses = [svi.step(x) for _ in range(100)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def store_model(x):
    loc = pyro.param("decoder_loc", torch.zeros(2, dtype=x.dtype))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
        pyro.sample("x", dist.Normal(z + loc, 1).to_event(1), obs=x)


def store_guide(x):
    scale = pyro.param("scale", torch.full((2,), 0.5, dtype=x.dtype), constraint=dist.constraints.positive)
    gain = pyro.param("gain", torch.zeros(2, dtype=x.dtype))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(gain * x, scale).to_event(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["analytic-kl", "sticking-the-landing", "dreg", "rloo"])
def test_a_users_pair_is_trained_through_the_store(name):
    torch.manual_seed(0)
    x = 2 + math.sqrt(2) * torch.randn(200, 2, dtype=torch.float64)
    svi = SVI(store_model, store_guide, pyro.optim.Adam({"lr": 5e-2}), loss=inf.get_elbo(name, num_particles=4))
    for _ in range(120):
        svi.step(x)
    store = pyro.get_param_store()
    assert set(store.keys()) == {"decoder_loc", "scale", "gain"}
    assert all(store[name].isfinite().all() for name in store)
    assert (store["gain"] > 0.1).all()
    assert (store["decoder_loc"] > 0.3).all()


# The module that elbo(model, guide) is ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_loss_is_minus_the_sum_over_the_batch_with_gradients():
    vae, x = gaussian_pair()
    batch = torch.stack([x, x + 1, x - 1])
    for name in inf.list_estimators():
        estimator = inf.get_elbo(name)
        torch.manual_seed(0)
        loss = estimator(vae.model, vae.guide)(batch)
        torch.manual_seed(0)
        terms = inf.trace_terms(
            vae.model, vae.guide, batch, num_particles=estimator.num_draws, gradient=estimator.gradient
        )
        assert loss.item() == pytest.approx(-estimator.bound(terms).sum().item(), rel=1e-10)
        assert loss.requires_grad


def test_a_subsampled_plate_multiplies_the_loss_and_not_the_terms():
    x = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def model(x):
        with pyro.plate("data", 12, subsample_size=3) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 1).to_event(1), obs=x[index])

    def guide(x):
        with pyro.plate("data", 12, subsample_size=3) as index:
            pyro.sample("z", dist.Normal(0.5 * x[index], 0.8).to_event(1))

    for name, kind in (("monte-carlo-kl", Trace_ELBO), ("analytic-kl", TraceMeanField_ELBO)):
        estimator = inf.get_elbo(name)
        found = []
        for value in (
            lambda e=estimator: e(model, guide)(x).item(),
            lambda k=kind: k().loss(model, guide, x),
            lambda e=estimator: -4 * e.bound(e.run(model, guide, x)).sum().item(),
        ):
            torch.manual_seed(0)
            found.append(value())
        assert found[0] == pytest.approx(found[1], rel=1e-10)
        assert found[0] == pytest.approx(found[2], rel=1e-10)
    # Inside the logarithm no weight is raised to N / B, as in Pyro's RenyiELBO.
    torch.manual_seed(0)
    estimator = inf.ImportanceWeighted(3)
    bound = estimator.bound(estimator.run(model, guide, x))
    torch.manual_seed(0)
    assert inf.ImportanceWeighted(3)(model, guide)(x).item() == pytest.approx(-4 * bound.sum().item(), rel=1e-10)
    # A bound for every datum would be one for 3 of 12.
    with pytest.raises(ModelError, match="takes 3 of 12 data"):
        estimator.per_datum(model, guide, x)


def test_the_module_has_the_parameters_of_modules_and_of_bound_methods():
    vae = pv.VAE((5,), 2, seed=0)
    wanted = {id(p) for p in vae.parameters()}
    for model, guide in ((vae.model, vae.guide), (vae.model.forward, vae.guide.forward)):
        loss = inf.AnalyticKL()(model, guide)
        assert {id(p) for p in loss.parameters()} == wanted
        optimiser = torch.optim.SGD(loss.parameters(), lr=1e-3)
        before = [p.detach().clone() for p in vae.parameters()]
        loss(torch.ones(3, 5)).backward()
        optimiser.step()
        optimiser.zero_grad()
        assert all(not torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True))
    assert {id(p) for p in Trace_ELBO()(vae.model, vae.guide).parameters()} == wanted


def test_loss_and_module_agree_and_evaluation_asks_for_no_gradient():
    vae, x = gaussian_pair()
    estimator = inf.MonteCarloKL()
    torch.manual_seed(0)
    loss = estimator.loss(vae.model, vae.guide, x[None])
    torch.manual_seed(0)
    assert estimator(vae.model, vae.guide)(x[None]).item() == pytest.approx(loss, rel=1e-12)
    p, x = workbench(0, 6, 3)
    assert_mean(estimator.per_datum(vae.model, vae.guide, x.expand(10_000, 6)).detach(), elbo(p, x))
