"""Priors: densities that integrate to one and equal their formulas, and what each can do that N(0, I) cannot."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import make_moons

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models.priors.priors import prior

PRIORS = {
    "standard": "standard",
    "diagonal": "diagonal",
    "mixture": {"name": "mixture", "num_components": 3},
    "vamp": {"name": "vamp", "num_components": 4},
    "flow": {"name": "flow", "hidden": 8},
    "coupling-flow": {"name": "flow", "kind": "coupling", "hidden": 8},
}
FLOWS = ("flow", "coupling-flow")


def model_with(prior, seed=0):
    vae = pv.VAE((1, 3, 3), latent_dim=2, prior=prior, seed=seed).double()
    with torch.no_grad():
        for parameter in vae.model.prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_density_integrates_to_one(name):
    reach = 20 if name in FLOWS else 12
    axis = torch.linspace(-reach, reach, 801 if name in FLOWS else 481, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = model_with(PRIORS[name]).model.prior().log_prob(grid).exp().sum().item() * step**2
    # The networks' rectifiers give a flow's density kinks, and its tails are long.
    assert mass == pytest.approx(1, abs=2e-3 if name in FLOWS else 1e-6)


def test_diagonal_is_scipys_normal():
    prior = model_with("diagonal").model.prior
    z = np.array([[0.3, -1.2], [2.0, 0.0]])
    loc, scale = prior.loc.detach().numpy(), prior.log_scale.detach().exp().numpy()
    np.testing.assert_allclose(prior().log_prob(torch.tensor(z)).detach(), norm(loc, scale).logpdf(z).sum(1))


def test_mixture_is_the_weighted_sum_of_its_components():
    prior = model_with(PRIORS["mixture"]).model.prior
    z = np.array([0.4, -0.7])
    weights = prior.logits.detach().softmax(0).numpy()
    loc, scale = prior.loc.detach().numpy(), prior.log_scale.detach().exp().numpy()
    density = sum(w * norm(m, s).pdf(z).prod() for w, m, s in zip(weights, loc, scale, strict=True))
    assert prior().log_prob(torch.tensor(z)).item() == pytest.approx(math.log(density), abs=1e-10)


def test_vamp_is_the_mean_of_the_guides_posteriors_at_its_pseudo_inputs():
    vae = model_with(PRIORS["vamp"])
    z = torch.tensor([0.4, -0.7], dtype=torch.float64)
    q = vae.encode(vae.model.prior.pseudo_inputs.detach())
    densities = norm(q.mean.detach().numpy(), q.stddev.detach().numpy()).pdf(z.numpy()).prod(1)
    assert vae.model.prior().log_prob(z).item() == pytest.approx(math.log(densities.mean()), abs=1e-10)


def test_vamp_reaches_the_guides_parameters_but_does_not_own_them():
    vae = model_with(PRIORS["vamp"])
    assert [name for name, _ in vae.model.prior.named_parameters()] == ["pseudo_inputs"]
    vae.model.prior().log_prob(torch.zeros(2, dtype=torch.float64)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in vae.guide.parameters())


def test_vamp_starts_from_data():
    x = torch.rand(10, 1, 3, 3)
    vae = pv.VAE((1, 3, 3), latent_dim=2, prior=PRIORS["vamp"])
    vae.initialise(x)
    first = vae.model.prior.pseudo_inputs.clone()
    assert all((x == u).flatten(1).all(1).any() for u in first)
    assert len(torch.unique(first, dim=0)) == 4
    vae.initialise(x)
    assert torch.equal(first, vae.model.prior.pseudo_inputs)
    vae.initialise(x, seed=1)
    assert not torch.equal(first, vae.model.prior.pseudo_inputs)
    recipe = pv.make("vamp-vae", (1, 3, 3), data=x, prior=PRIORS["vamp"])
    assert torch.equal(first, recipe.vae.model.prior.pseudo_inputs)


def test_vamp_repeats_data_where_there_are_too_few():
    x = torch.rand(3, 1, 3, 3)
    vae = pv.VAE((1, 3, 3), latent_dim=2, prior=PRIORS["vamp"])
    vae.initialise(x)
    assert len(torch.unique(vae.model.prior.pseudo_inputs, dim=0)) == 3


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_a_number_of_components_must_count(name, number):
    with pytest.raises(ModelError, match=f"num_components must be an integer of at least 1, got {number}"):
        pv.VAE((1, 3, 3), 2, prior={"name": name, "num_components": number})


@pytest.mark.parametrize("name", FLOWS)
def test_flow_density_is_the_change_of_variables_by_autograd(name):
    p = model_with(PRIORS[name]).model.prior()
    noise = torch.randn(2, dtype=torch.float64)

    def bend(e):
        for step in p.transforms:
            e = step(e)
        return e

    jacobian = torch.autograd.functional.jacobian(bend, noise)
    expected = norm.logpdf(noise).sum() - torch.linalg.slogdet(jacobian).logabsdet.item()
    assert p.log_prob(bend(noise).detach().clone()).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_remembers_nothing_from_one_step_to_the_next(name, tmp_path):
    """The same codes again after a step: Pyro's transforms would answer from their last call."""
    vae = pv.VAE((4,), 2, prior=PRIORS[name])
    z, optimizer = torch.randn(50, 2), torch.optim.SGD(vae.model.prior.parameters(), lr=0.1)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = -vae.model.prior().log_prob(z).mean()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[0] > values[1] > values[2]
    x = torch.rand(5, 4).round()
    inf.MonteCarloKL()(vae.model, vae.guide)(x).backward()
    vae.save(tmp_path)
    for other in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae)), pv.load(tmp_path)):
        assert torch.equal(other.model.prior().log_prob(z), vae.model.prior().log_prob(z))


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_flow_fits_two_moons_where_a_gaussian_cannot(name):
    """The negative cross-entropy of a normal prior is -2.84; a flow gains more than 0.3 on new codes."""
    train, test = (torch.tensor(make_moons(500, noise=0.1, random_state=s)[0]).float() for s in (0, 1))
    centre, spread = train.mean(0), train.std(0)
    train, test = (train - centre) / spread, (test - centre) / spread
    part = prior({"name": "flow", "kind": PRIORS[name].get("kind", "autoregressive")})
    part.build(2)
    optimizer = torch.optim.Adam(part.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (-part().log_prob(train).mean()).backward()
        optimizer.step()
    gaussian = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T))
    assert part().log_prob(test).mean() > gaussian.log_prob(test).mean() + 0.3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "flow", "kind": "couplin"}, "unknown kind 'couplin'; did you mean 'coupling'"),
        ({"name": "flow", "hidden": 1}, "'flow': hidden must be at least latent_dim = 2, got 1"),
        ({"name": "flow", "num_transforms": 0}, "num_transforms must be an integer of at least 1, got 0"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(spec, message):
    with pytest.raises(ModelError, match=message):
        pv.VAE((4,), 2, prior=spec)
