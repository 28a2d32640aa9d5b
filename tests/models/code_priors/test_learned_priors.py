"""Priors learned from codes: densities by closed forms and quadrature, draws that follow them, who is trained."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import with_new_prior
from ppl_vae.models.priors.priors import prior
from tests.inference.oracles import assert_mean

AXIS = torch.linspace(-9, 9, 121, dtype=torch.float64)
GRID, CELL = torch.cartesian_prod(AXIS, AXIS), (AXIS[1] - AXIS[0]).item() ** 2
SMALL = {
    "autoregressive": {"name": "autoregressive", "num_components": 2, "hidden": 8},
    "noise-contrastive": {"name": "noise-contrastive", "hidden": 8, "bound": 2.0},
    "diffusion": {"name": "diffusion", "hidden": 8, "num_steps": 8},
}


def part(name, seed=0):
    """A prior of two dimensions, in double precision, away from its start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = prior(SMALL[name])
        made.build(2)
        made.double()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made


@pytest.mark.parametrize("name", SMALL)
def test_the_density_integrates_to_one_and_the_draws_follow_it(name):
    """Means of coordinates, squares and products of draws, beside the quadrature of the density."""
    made = part(name)
    torch.manual_seed(0)
    with torch.no_grad():
        density = made().log_prob(GRID).exp() * CELL
        z = made().sample((4000,))
    # Z of the noise-contrastive prior has an error, the flow's steps have one, and rectifiers have kinks.
    assert density.sum().item() == pytest.approx(1, abs=1e-3)
    moments = lambda z: torch.cat([z, z.square(), z[:, :1] * z[:, 1:], z.sin()], 1)  # noqa: E731
    exact = (density[:, None] * moments(GRID)).sum(0) / density.sum()
    for own, wanted in zip(moments(z).T, exact, strict=True):
        assert_mean(own, wanted)


def test_the_normaliser_of_the_ratio_is_that_of_quadrature_within_its_error():
    made = part("noise-contrastive")
    with torch.no_grad():
        base = torch.distributions.Normal(0.0, 1.0).log_prob(GRID).sum(1)
        exact = ((base + made.log_ratio(GRID)).exp().sum() * CELL).log().item()
        found, error = made.log_normaliser()
    assert 0 < error < 1e-3
    assert found.item() == pytest.approx(exact, abs=4 * error.item())


def test_the_loss_of_the_ratio_is_two_log_two_where_nothing_is_told_and_is_least_at_the_true_ratio():
    """For codes of N(1, 1) the true ratio z - 1/2 beats half of it and twice of it."""
    made = prior({"name": "noise-contrastive", "bound": 50.0})
    made.build(1)
    z = 1 + torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))

    def loss(factor):
        made.network = nn.Linear(1, 1)
        with torch.no_grad():
            made.network.weight.fill_(factor)
            made.network.bias.fill_(-0.5 * factor)
            torch.manual_seed(1)
            return made.code_loss(z).item()

    assert loss(0.0) == pytest.approx(2 * math.log(2), rel=1e-5)
    assert loss(1.0) < min(loss(0.5), loss(2.0)) - 0.01


class VelocityOfGaussian(nn.Module):
    """The best velocity of codes N(m, s^2), coordinate by coordinate, and its divergence."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc, self.scale = loc, scale
        self.last = nn.Linear(1, len(loc), dtype=loc.dtype)

    def forward(self, z, angle):
        cos, sin = angle.cos(), angle.sin()
        variance = (cos * self.scale).square() + sin.square()
        slope = (cos * sin - sin * cos * self.scale.square()) / variance
        return slope * (z - cos * self.loc) - sin * self.loc, slope.sum(-1)


def test_the_flow_of_a_gaussian_has_its_density_and_its_draws():
    loc, scale = torch.tensor([0.7, -1.5], dtype=torch.float64), torch.tensor([0.4, 1.6], dtype=torch.float64)
    made = prior({"name": "diffusion", "num_steps": 20})
    made.velocity = VelocityOfGaussian(loc, scale)
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = torch.distributions.Normal(loc, scale).log_prob(loc + 2 * scale * z).sum(1)
    torch.testing.assert_close(made().log_prob(loc + 2 * scale * z), exact, rtol=0, atol=1e-3)
    torch.manual_seed(0)
    draws = (made().sample((2000,)) - loc) / scale
    for own in draws.T:
        assert_mean(own, 0.0)
        assert_mean(own.square(), 1.0)


def test_the_best_velocity_of_a_gaussian_is_the_least_of_the_loss():
    """The loss falls no further beside it: with a factor of 0.9 or 1.1 it is larger."""
    loc, scale = torch.tensor([0.7]), torch.tensor([0.4])
    made = prior("diffusion")
    exact = VelocityOfGaussian(loc, scale)
    z = loc + scale * torch.randn(50000, 1, generator=torch.Generator().manual_seed(0))

    def loss(factor):
        made.__dict__["velocity"] = lambda z, angle: tuple(factor * each for each in exact(z, angle))
        torch.manual_seed(1)
        return made.code_loss(z).item()

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def test_the_divergence_in_closed_form_is_autograds():
    made, angle = part("diffusion"), torch.tensor([0.6], dtype=torch.float64)
    for z in torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        jacobian = torch.autograd.functional.jacobian(lambda z: made.velocity(z, angle)[0], z)
        assert made.velocity(z, angle)[1].item() == pytest.approx(jacobian.trace().item(), abs=1e-12)


def test_an_autoregressive_coordinate_reads_those_before_it_alone():
    made = part("autoregressive")
    z = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    other = torch.tensor([[0.3, 5.0]], dtype=torch.float64)
    first, second = (made._conditionals(each).log_prob(torch.zeros(1, 2).double())[0] for each in (z, other))
    assert torch.equal(first, second)
    moved = made._conditionals(z + torch.tensor([1.0, 0.0])).log_prob(torch.zeros(1, 2).double())[0]
    assert moved[0] == first[0]
    assert moved[1] != first[1]


@pytest.mark.parametrize("name", ["autoregressive", "diffusion"])
def test_the_second_stage_leaves_model_and_guide_the_first_ones_gradients(name):
    """Those of the closed-form ELBO under N(0, I), and the prior has those of its own loss at the codes."""
    vae, x = pv.VAE((5,), 2, prior=SMALL[name], seed=0), torch.rand(6, 5).round()
    plain = pv.VAE((5,), 2, seed=0)
    plain.model.decoder.load_state_dict(vae.model.decoder.state_dict())
    plain.guide.load_state_dict(vae.guide.state_dict())
    torch.manual_seed(3)
    terms = inf.AnalyticKL().run(plain.model, plain.guide, x)
    inf.AnalyticKL().forward(terms).backward()
    torch.manual_seed(3)
    objective = inf.SecondStage("analytic-kl", vae.model.prior)
    terms = objective.run(vae.model, vae.guide, x)
    torch.manual_seed(4)
    objective.forward(terms).backward()
    for mine, others in zip(vae.guide.parameters(), plain.guide.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, others.grad)
    for mine, others in zip(vae.model.decoder.parameters(), plain.model.decoder.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, others.grad)
    found = [p.grad.clone() for p in vae.model.prior.parameters()]
    vae.model.prior.zero_grad()
    torch.manual_seed(4)
    objective.prior_loss(terms.sites["z"].value.detach()).backward()
    for gradient, p in zip(found, vae.model.prior.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad)
    assert isinstance(objective.estimator, inf.MonteCarloKL)


def test_a_new_prior_is_all_that_is_trained_of_a_trained_model(tmp_path):
    vae, x = pv.VAE((5,), 2, seed=0), torch.rand(20, 5).round()
    twin = with_new_prior(vae, SMALL["autoregressive"], seed=1)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    pv.fit(
        twin, x, elbo=inf.SecondStage("monte-carlo-kl", twin.model.prior), epochs=1, device="cpu", compile=False,
        progress=False,
    )  # fmt: skip
    moved = {name for name, value in twin.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("model.prior.") for name in moved)
    assert torch.equal(twin.reconstruct(x), vae.reconstruct(x))
    twin.save(tmp_path)
    z = torch.randn(4, 2)
    assert torch.equal(pv.load(tmp_path).model.prior().log_prob(z), twin.model.prior().log_prob(z))
    assert vae.config["prior"] == {"name": "standard"}


def test_what_has_no_codes_to_learn_from_is_refused_by_name():
    lg = pv.LinearGaussianVAE(torch.randn(4, 2), torch.zeros(4), 1.0)
    with pytest.raises(ModelError, match="'linear-gaussian' model is defined by its prior"):
        with_new_prior(lg, "diffusion")
    with pytest.raises(ModelError, match="choose both for one space"):
        with_new_prior(pv.VAE((4,), 2), "uniform-sphere")
    with pytest.raises(ModelError, match="needs an objective with the total gradient, which ScoreFunction has not"):
        inf.SecondStage("score-function", nn.Identity())
    deep = pv.models.HierarchicalVAE((4,), (3, 2))
    with pytest.raises(ModelError, match="a prior of codes needs one latent site, got"):
        inf.SecondStage("monte-carlo-kl", nn.Identity())(deep.model, deep.guide)(torch.rand(3, 4).round())


CENTRES = torch.tensor([[1.1, 0.6], [-1.1, 0.6], [0.0, -1.2]])
WIDTH, NOISE = 0.2, 0.1


class AsItIs(nn.Module):
    """A guide that puts its code where the datum is, of a fixed width."""

    def forward(self, features):
        return torch.distributions.Independent(torch.distributions.Normal(features, NOISE), 1)


def aggregate():
    """The law of the codes, in closed form: three Gaussians."""
    width = math.hypot(WIDTH, NOISE)
    parts = torch.distributions.Normal(CENTRES.double(), width)
    return parts.log_prob(GRID[:, None]).sum(-1).logsumexp(1) - math.log(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mixture", "num_components": 5},
        {"name": "flow", "kind": "autoregressive"},
        "autoregressive",
        "noise-contrastive",
        "diffusion",
    ],
    ids=lambda spec: spec if isinstance(spec, str) else spec["name"],
)
def test_a_learned_prior_comes_near_to_a_holey_aggregate(spec):
    """What the papers are about: KL(q(z) || p(z)), by quadrature, falls from N(0, I)'s to below a fifth of it."""
    generator = torch.Generator().manual_seed(0)
    x = CENTRES.repeat(500, 1) + WIDTH * torch.randn(1500, 2, generator=generator)
    decoder = nn.Linear(2, 2)
    vae = pv.VAE((2,), 2, network=(nn.Identity(), decoder), likelihood="gaussian", posterior=AsItIs())
    twin = with_new_prior(vae, spec)
    pv.fit(
        twin, x, elbo=inf.SecondStage("monte-carlo-kl", twin.model.prior), epochs=100, batch_size=150, lr=5e-3,
        device="cpu", compile=False, progress=False,
    )  # fmt: skip
    log_q = aggregate()
    weight = log_q.exp() * CELL
    assert weight.sum().item() == pytest.approx(1, abs=1e-6)
    log_n = torch.distributions.Normal(0.0, 1.0).log_prob(GRID).sum(1)
    before = (weight * (log_q - log_n)).sum().item()
    with torch.no_grad():
        log_p = twin.model.prior().log_prob(GRID.float()).double()
    after = (weight * (log_q - log_p)).sum().item()
    assert (log_p.exp() * CELL).sum().item() == pytest.approx(1, abs=5e-3)
    assert 0 <= after < 0.2 * before, (before, after)
    # The ELBO gains exactly what the aggregate has come nearer.
    standard = with_new_prior(vae, "standard")
    gained = pv.evaluate(twin, x, num_particles=64).elbo - pv.evaluate(standard, x, num_particles=64).elbo
    error = (gained.std() / math.sqrt(len(gained))).item()
    np.testing.assert_allclose(gained.mean().item(), before - after, atol=4 * error + 0.02)
