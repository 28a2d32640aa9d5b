"""Priors: densities that integrate to one and equal their formulas, and what each can do that N(0, I) cannot."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

import ppl_vae as pv
from ppl_vae.errors import ModelError

PRIORS = {
    "standard": "standard",
    "diagonal": "diagonal",
    "mixture": {"name": "mixture", "num_components": 3},
    "vamp": {"name": "vamp", "num_components": 4},
}


def model_with(prior, seed=0):
    vae = pv.VAE((1, 3, 3), latent_dim=2, prior=prior, seed=seed).double()
    with torch.no_grad():
        for parameter in vae.model.prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return vae


@pytest.mark.parametrize("name", PRIORS)
def test_density_integrates_to_one(name):
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = model_with(PRIORS[name]).model.prior().log_prob(grid).exp().sum().item() * step**2
    assert mass == pytest.approx(1, abs=1e-6)


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
