"""Groups that shift the code: the exact posterior of a linear model of groups, batches, storage, simulation."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_global_importance
from ppl_vae.errors import ModelError

SIZES = (2, 4, 30, 80, 120)
LINEAR = {"latent_dim": 1, "network": "linear", "likelihood": {"name": "gaussian", "sigma": 0.5}}


def groups_of_lines(seed=0):
    """Data [N, 4] along a line, in groups of differing size that sit at differing places of it."""
    torch.manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    places = torch.tensor([3.0, -2.0, 2.5, -1.0, 0.5])
    z = places[y] + torch.randn(len(y))
    return z.unsqueeze(1) * torch.tensor([1.0, -0.7, 0.4, 0.9]) + 0.5 * torch.randn(len(y), 4), y


def exact_shifts(vae, x, y):
    """Mean and standard deviation of p(u_g | x) at the model's parameters, and log p(x | y): a linear mixed model.

    x_n | u ~ N(w u + b, w w' + sigma^2 I), so that w'(x - b) / w'w is all that x says of u, with variance
    1 + sigma^2 / w'w.
    """
    with torch.no_grad():
        weight, bias = vae.model.decoder.weight[:, 0].double(), vae.model.decoder.bias.double()
        spread = (2 * vae.model.log_spread).exp().item()
    own = torch.outer(weight, weight) + 0.25 * torch.eye(4, dtype=torch.float64)
    told, noise = (x.double() - bias) @ weight / weight.dot(weight), 1 + 0.25 / weight.dot(weight)
    means, sds, evidence = [], [], 0.0
    for group in range(len(SIZES)):
        number = int((y == group).sum())
        precision = 1 / spread + number / noise
        means.append(told[y == group].sum() / noise / precision)
        sds.append(precision.rsqrt())
        covariance = torch.block_diag(*[own] * number)
        columns = weight.repeat(number)
        covariance += spread * torch.outer(columns, columns)
        law = torch.distributions.MultivariateNormal(bias.repeat(number), covariance)
        evidence += law.log_prob(x[y == group].double().flatten())
    return torch.stack(means), torch.stack(sds), evidence.item()


@pytest.fixture(scope="module")
def fitted():
    x, y = groups_of_lines()
    recipe = pv.make("hierarchical-groups-vae", (4,), num_classes=len(SIZES), hidden=(16,), **LINEAR)
    for lr, epochs in ((0.03, 150), (0.003, 100)):
        pv.fit(recipe, (x, y), epochs=epochs, batch_size=len(x), lr=lr, progress=False, device="cpu", compile=False)
    return recipe.vae, x, y


@pytest.mark.slow
def test_small_groups_are_drawn_to_the_others_as_the_exact_posterior_says(fitted):
    """Partial pooling: the guide's shifts are those of the linear mixed model at the same parameters."""
    vae, x, y = fitted
    means, sds, evidence = exact_shifts(vae, x, y)
    found = vae.shifts()
    assert ((found.mean[:, 0] - means).abs() < 0.25 * sds + 0.02).all()
    assert ((found.stddev[:, 0] / sds).log().abs() < 0.3).all()
    # The uncertainty of a shift falls with the size of its group.
    assert (found.stddev[:, 0].diff() < 0).all()
    summary = pv.evaluate(vae, x, y=y, num_particles=200).summary()
    assert 0 < evidence - summary["elbo"] * len(x) < 0.02 * len(x)
    # Nearly exact, so that the weights of the shifts are nearly constant.
    assert run_global_importance(vae, (x, y), 200, 10)["khat"] < 0.7


def pair(num_classes=4, **options):
    return pv.models.GroupsVAE((6,), 2, num_classes, hidden=(5,), **options), torch.rand(8, 6).round()


def test_as_many_data_as_groups_are_no_riddle():
    vae, x = pair(8)
    y = torch.arange(8)
    terms = inf.trace_terms(vae.model, vae.guide, x, y, num_particles=3)
    assert terms.whole.sites["u"].value.shape == (3, 1, 8, 2)
    assert terms.sites["z"].value.shape == (3, 8, 2)
    assert inf.simulate(vae, x, y).values["u"].shape == (8, 2)
    assert pv.evaluate(vae, x, y=y).global_kl > 0


def test_the_bound_is_that_of_the_densities_written_out():
    vae, x = pair()
    y = torch.tensor([0, 1, 1, 3, 0, 2, 2, 3])
    torch.manual_seed(1)
    terms = inf.trace_terms(vae.model, vae.guide, x, y, num_particles=2)
    u, z = terms.whole.sites["u"].value[:, 0], terms.sites["z"].value

    def normal(value, loc, scale):
        return (-0.5 * ((value - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    torch.testing.assert_close(terms.log_prior, normal(z, u[:, y], torch.ones(2)))
    of_groups = normal(u, torch.zeros(2), vae.model.log_spread.exp()).sum(1, keepdim=True)
    torch.testing.assert_close(terms.whole.log_prior, of_groups)
    logits = vae.model.decoder(z.flatten(0, 1)).view(2, 8, 6)
    torch.testing.assert_close(terms.log_likelihood, (x * logits - torch.nn.functional.softplus(logits)).sum(-1))


def test_it_draws_reconstructs_and_is_stored(tmp_path):
    vae, x = pair()
    y = torch.arange(8) % 4
    assert vae.model(size=7).shape == (7, 6)
    assert vae.sample(5, with_noise=True).shape == vae.sample(5, y=torch.tensor(2)).shape == (5, 6)
    assert vae.reconstruct(x, y).shape == x.shape
    vae.save(tmp_path / "model")
    again = pv.load(tmp_path / "model")
    assert again.config == vae.config
    assert torch.equal(again.reconstruct(x, y), vae.reconstruct(x, y))
    with pytest.raises(ModelError, match="groups y"):
        vae.model(x)
    with pytest.raises(ModelError, match=r"expected categories 0, ..., 3, got \[4\]"):
        vae.sample(2, y=torch.tensor(4))
