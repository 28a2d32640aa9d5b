"""Enumeration against brute force; the Gumbel-softmax relaxation against its limits."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import nn

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.discrete import conditional_relaxation
from tests.inference.comparisons import CategoricalPair
from tests.inference.oracles import assert_gradient, assert_mean


def data(n=5, dim=2):
    return torch.randn(n, dim, dtype=torch.float64)


def loss_and_gradients(objective, pair, x):
    loss = objective(pair.model, pair.guide)(x) / len(x)
    named = dict(pair.named_parameters())
    return -loss, dict(zip(named, torch.autograd.grad(-loss, list(named.values())), strict=True))


@pytest.mark.parametrize("kind", ["categorical", "one-hot"])
def test_enumeration_is_the_exact_elbo_and_gradient(kind):
    pair, x = CategoricalPair(kind=kind), data()
    value, gradients = loss_and_gradients(inf.Enumeration(4), pair, x)
    exact = pair.exact_elbo(x)
    torch.testing.assert_close(value, exact.mean(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inf.Enumeration(4).per_datum(pair.model, pair.guide, x), exact)
    expected = torch.autograd.grad(exact.mean(), list(pair.parameters()))
    for found, wanted in zip(gradients.values(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


class BernoulliPair(nn.Module):
    """One switch: z ~ Bernoulli, x | z ~ N(shift z, 1)."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.slope = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("switch", dist.Bernoulli(torch.full((len(x),), 0.3, dtype=x.dtype)))
            pyro.sample("x", dist.Normal(self.shift * z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("switch", dist.Bernoulli(logits=self.slope * x))

    def exact_elbo(self, x):
        total = 0
        for z in (0.0, 1.0):
            value = torch.full_like(x, z)
            log_q = dist.Bernoulli(logits=self.slope * x).log_prob(value)
            log_joint = dist.Bernoulli(torch.full_like(x, 0.3)).log_prob(value)
            total = total + log_q.exp() * (log_joint + dist.Normal(self.shift * z, 1.0).log_prob(x) - log_q)
        return total


def test_enumeration_of_a_bernoulli():
    pair, x = BernoulliPair(), data(6, 1).squeeze(1)
    value, gradients = loss_and_gradients(inf.Enumeration(2), pair, x)
    exact = pair.exact_elbo(x).mean()
    torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(exact, [pair.shift, pair.slope])
    torch.testing.assert_close(list(gradients.values()), list(expected))


class Mixture(nn.Module):
    """y ~ Cat, z | y ~ N(centre_y, 1), x | z ~ N(z, 1/4); the guide draws y, then z | y, x."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64))
        self.pull = nn.Parameter(torch.tensor([0.4, 0.6, 0.5], dtype=torch.float64))
        self.logits = nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.tensor([0.2, 0.3, 0.5], dtype=x.dtype).expand(len(x), 3)))
            z = pyro.sample("z", dist.Normal(self.centre[y], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=self.logits + x[:, None] * self.pull))
            pyro.sample("z", dist.Normal(self.centre[y] + self.pull[y] * (x - self.centre[y]), 0.6))

    def exact_elbo(self, x):
        log_q = (self.logits + x[:, None] * self.pull).log_softmax(-1)
        prior = torch.tensor([0.2, 0.3, 0.5], dtype=x.dtype).log()
        loc = self.centre + self.pull * (x[:, None] - self.centre)
        q = dist.Normal(loc, 0.6)
        expected_fit = dist.Normal(loc, 0.5).log_prob(x[:, None]) - 0.36 / (2 * 0.25)
        expected_prior = dist.Normal(self.centre, 1.0).log_prob(loc) - 0.36 / 2
        return (log_q.exp() * (prior + expected_fit + expected_prior + q.entropy() - log_q)).sum(-1)


@pytest.mark.slow
def test_enumeration_with_a_continuous_site_after_it_is_unbiased():
    """Many copies of each datum, each with draws of its own for every category."""
    pair, x = Mixture(), torch.tensor([-0.5, 1.2], dtype=torch.float64)
    copies, runs = 200, 100
    values, gradients = [], {name: [] for name, _ in pair.named_parameters()}
    for _ in range(runs):
        value, found = loss_and_gradients(inf.Enumeration(3), pair, x.repeat(copies))
        values.append(value.detach())
        for name, gradient in found.items():
            gradients[name].append(gradient)
    exact = pair.exact_elbo(x).mean()
    assert_mean(torch.stack(values), exact.item())
    wanted = dict(zip(gradients, torch.autograd.grad(exact, list(pair.parameters())), strict=True))
    assert_gradient({name: torch.stack(draws) for name, draws in gradients.items()}, wanted)


def test_enumeration_refuses_what_it_cannot_sum():
    pair, x = CategoricalPair(), data()
    with pytest.raises(ModelError, match="site 'label' has 4 categories, not num_categories = 3"):
        inf.Enumeration(3).per_datum(pair.model, pair.guide, x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ModelError, match=r"one discrete site, drawn first; the guide draws \['z'\]"):
        inf.Enumeration(2).per_datum(model, guide, torch.randn(4))


def expected_likelihood(pair, x):
    """The exact E_q log p(x | y) and KL(q || p): [N] each."""
    log_q = pair.encoder(x).log_softmax(-1)
    log_likelihood = dist.Normal(pair.means, 1.0).to_event(1).log_prob(x.unsqueeze(1))
    kl = (log_q.exp() * (log_q - pair.prior.log_softmax(-1))).sum(-1)
    return (log_q.exp() * log_likelihood).sum(-1), kl


def test_the_relaxations_divergence_is_exact():
    pair, x = CategoricalPair(kind="one-hot"), data()
    objective = inf.GumbelSoftmax(num_particles=3, temperature=0.7)
    terms = objective.run(pair.model, pair.guide, x)
    _, kl = expected_likelihood(pair, x)
    torch.testing.assert_close(objective.kl(terms), kl.expand(3, -1))
    assert not ((terms.sites["label"].value == 0) | (terms.sites["label"].value == 1)).all()
    torch.testing.assert_close(terms.sites["label"].value.sum(-1), torch.ones(3, len(x), dtype=x.dtype))


def test_the_relaxations_value_tends_to_the_elbo_as_the_temperature_falls():
    pair, x = CategoricalPair(kind="one-hot"), data()
    exact = pair.exact_elbo(x).mean().item()
    biases = []
    for temperature in (2.0, 0.5, 0.01):
        objective = inf.GumbelSoftmax(num_particles=20_000, temperature=temperature)
        with torch.no_grad():
            terms = objective.run(pair.model, pair.guide, x)
            draws = (terms.log_likelihood - objective.kl(terms)).mean(1)
        biases.append(abs(draws.mean().item() - exact))
    assert biases[0] > 2 * biases[1] > 4 * biases[2]
    assert biases[2] < 4 * draws.std().item() / 20_000**0.5 + 0.02


def test_straight_through_draws_are_corners_and_their_value_unbiased():
    pair, x = CategoricalPair(kind="one-hot"), data()
    objective = inf.GumbelSoftmax(num_particles=4000, temperature=0.5, straight_through=True)
    terms = objective.run(pair.model, pair.guide, x)
    value = terms.sites["label"].value.detach()
    corners = torch.nn.functional.one_hot(value.argmax(-1), 4).to(value)
    torch.testing.assert_close(value, corners)
    draws = (terms.log_likelihood - objective.kl(terms)).mean(1)
    assert_mean(draws.detach(), pair.exact_elbo(x).mean().item())
    gradient = torch.autograd.grad(objective.forward(terms), list(pair.encoder.parameters()))
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradient)


def test_the_relaxed_gradient_is_near_the_exact_one():
    pair, x = CategoricalPair(kind="one-hot"), data()
    found = loss_and_gradients(inf.GumbelSoftmax(20_000, temperature=0.1), pair, x)[1]
    exact = torch.autograd.grad(pair.exact_elbo(x).mean(), list(pair.parameters()))
    ours, theirs = (torch.cat([g.flatten() for g in gs]) for gs in (found.values(), exact))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.98


def test_the_relaxation_refuses_other_sites_by_name():
    pair, x = CategoricalPair(), data()
    with pytest.raises(ModelError, match="site 'label': only a OneHotCategorical can be relaxed, not Categorical"):
        inf.GumbelSoftmax().per_datum(pair.model, pair.guide, x)
    with pytest.raises(ModelError, match="temperature must be positive, got 0"):
        inf.GumbelSoftmax(temperature=0.0)


@pytest.mark.slow
def test_score_function_agrees_with_enumeration():
    pair, x = CategoricalPair(), data(3)
    exact = pair.exact_elbo(x)
    draws = torch.stack([inf.RLOO(2).per_datum(pair.model, pair.guide, x).detach() for _ in range(800)])
    for n in range(3):
        assert_mean(draws[:, n], exact[n].item())


@pytest.mark.slow
def test_averaging_the_conditional_noise_keeps_the_mean_and_lowers_the_variance():
    """Gumbel-Rao: the mean gradient is straight-through's, its variance falls with the draws of the noise."""
    pair, x = CategoricalPair(kind="one-hot"), data(2)
    drawn = {}
    for number in (None, 1, 20):
        torch.manual_seed(0)
        objective = inf.GumbelSoftmax(1, 0.5, straight_through=True, num_conditional=number)
        runs = []
        for _ in range(120):
            loss = -objective(pair.model, pair.guide)(x.repeat(20, 1)) / 40
            runs.append(torch.autograd.grad(loss, pair.encoder.bias)[0])
        drawn[number] = torch.stack(runs)
    for number in (1, 20):
        difference = drawn[number].mean(0) - drawn[None].mean(0)
        error = ((drawn[number].var(0) + drawn[None].var(0)) / 120).sqrt()
        assert (difference.abs() < 4 * error).all()
    assert drawn[20].var(0).sum() < 0.8 * drawn[None].var(0).sum()


def test_the_conditional_noise_has_the_drawn_category_on_top_and_the_right_law():
    """Drawn after the category it is the unconditional Gumbel noise again, whose mean is Euler's constant."""
    logits = torch.tensor([0.5, -1.0, 100.0]).log_softmax(-1).expand(2000, 3)
    hard = torch.nn.functional.one_hot(torch.full((2000,), 1), 3).float()
    soft = conditional_relaxation(logits, hard, 1e-3, 1)
    assert (soft.argmax(-1) == 1).all()
    assert soft.isfinite().all()


def test_conditional_noise_without_rounding_is_refused():
    with pytest.raises(ModelError, match="set straight_through=True"):
        inf.GumbelSoftmax(num_conditional=5)


def test_a_program_that_breaks_under_enumeration_is_told_by_its_own_words():
    """And not by a refusal of the run that looks for its plates, which enumerates nothing."""
    calls = []

    def model(x):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a file of weights is missing")
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(2) / 2))
            pyro.sample("x", dist.Normal(c.to(x.dtype), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(torch.ones(2) / 2))

    with pytest.raises(ValueError, match="a file of weights is missing"):
        inf.Enumeration(2).per_datum(model, guide, torch.zeros(3))
