"""p(x|y) with a code: the linear-Gaussian case has an exact log p(x|y); what is given and what is drawn."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_jointly

C, D, L, SIGMA = 3, 5, 2, 0.7


def linear_gaussian(prior="standard"):
    """x | y, z ~ N(W z + B y + b, SIGMA^2 I) in float64, with weights of order one."""
    likelihood = {"name": "gaussian", "sigma": SIGMA}
    pair = pv.models.ConditionalVAE((D,), L, C, "linear", (6,), likelihood, prior).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(7, D, generator=generator, dtype=torch.float64)
    return pair, x, torch.arange(7) % C


def decoder(pair):
    """B [D, C], W [D, L] and b [D]; the decoder reads the class, then the code."""
    return *pair.model.decoder.weight.split([C, L], 1), pair.model.decoder.bias


def prior_moments(pair, y):
    """Mean and standard deviation of p(z|y): [N, L] each."""
    if pair.config["prior"] == "standard":
        return torch.zeros(len(y), L, dtype=torch.float64), torch.ones(len(y), L, dtype=torch.float64)
    heads = pair.model.prior.family
    return heads.loc_head.weight.T[y] + heads.loc_head.bias, torch.exp(
        0.5 * (heads.scale_head.weight.T[y] + heads.scale_head.bias)
    )


def exact_evidence(pair, x, y):
    """log N(x; W m_y + B y + b, W S_y W' + SIGMA^2 I): [N]."""
    by_class, weight, bias = decoder(pair)
    mean, scale = prior_moments(pair, y)
    covariance = torch.einsum("dl,nl,el->nde", weight, scale**2, weight) + SIGMA**2 * torch.eye(D).double()
    return MultivariateNormal(mean @ weight.T + by_class.T[y] + bias, covariance).log_prob(x)


def exact_elbo(pair, x, y):
    """Of a Gaussian guide N(mu, diag s^2), in closed form: [N]."""
    by_class, weight, bias = decoder(pair)
    q, (mean, scale) = pair.guide.encode(x, y).base_dist, prior_moments(pair, y)
    residual = x - q.loc @ weight.T - by_class.T[y] - bias
    spread = q.scale.square() @ weight.square().sum(0)
    fit = -0.5 * (D * math.log(2 * math.pi * SIGMA**2) + (residual.square().sum(-1) + spread) / SIGMA**2)
    ratio = (q.scale / scale).square()
    kl = 0.5 * (ratio + ((q.loc - mean) / scale).square() - 1 - ratio.log()).sum(-1)
    return fit - kl


@pytest.mark.parametrize("prior", ["standard", "conditional"])
def test_evidence_of_the_linear_gaussian_is_exact_given_the_label(prior):
    """Within 4 standard errors of 20,000 draws, and the first-order bias of the bound."""
    pair, x, y = linear_gaussian(prior)
    with torch.no_grad():
        # A guide that is wide enough for the weights to be bounded.
        pair.guide.conditional.family.scale_head.bias.fill_(1.5)
        pair.guide.conditional.family.scale_head.weight.zero_()
        exact = exact_evidence(pair, x, y)
    found = pv.log_evidence(pair, x, y=y, num_samples=20_000)
    error = found.per_datum_stderr
    assert ((found.per_datum - exact).abs() < 4 * error + error**2).all()
    wrong = pv.log_evidence(pair, x, y=(y + 1) % C, num_samples=2000).per_datum
    assert ((wrong - exact).abs() > 0.1).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prior"),
    [("analytic-kl", "standard"), ("analytic-kl", "conditional"), ("monte-carlo-kl", "conditional")],
)
def test_value_and_gradient_of_the_linear_gaussian_are_unbiased(name, prior):
    """All parameters of both programs jointly, 400 one-draw estimates against the closed form."""
    pair, x, y = linear_gaussian(prior)
    parameters = list(pair.parameters())
    exact = exact_elbo(pair, x, y).mean()
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact, parameters, materialize_grads=True)])
    torch.manual_seed(0)
    elbo, values, draws = inf.get_elbo(name), [], []
    for _ in range(400):
        value = elbo.per_datum(pair.model, pair.guide, x, y).mean()
        values.append(value.detach())
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]))
    values, draws = torch.stack(values), torch.stack(draws)
    root = math.sqrt(len(values))
    assert abs(values.mean() - exact) < 4 * values.std() / root
    assert_jointly(draws.mean(0), draws.std(0) / root, wanted)


def small(**options):
    return pv.models.ConditionalVAE((6,), L, C, MLP((8,)), **options)


def test_a_class_reaches_the_draws_that_are_asked_for():
    """A decoder that says nothing but the class: pixel y is on."""
    pair = small()
    pair.model.decoder = torch.nn.Linear(C + L, 6)
    with torch.no_grad():
        pair.model.decoder.weight.zero_(), pair.model.decoder.bias.fill_(-20.0)
        pair.model.decoder.weight[:C, :C] = 40 * torch.eye(C)
    y = torch.tensor([2, 0, 1, 1])
    expected = torch.nn.functional.one_hot(y, 6).float()
    torch.testing.assert_close(pair.sample(4, y=y), expected, atol=1e-6, rtol=0)
    assert torch.equal(pair.sample(4, with_noise=True, y=y), expected)
    assert torch.equal(pair.sample(3, y=1).argmax(-1), torch.ones(3, dtype=torch.int64))
    assert torch.equal(pair.model(y=y), expected)
    assert set(pair.sample(60).argmax(-1).tolist()) == set(range(C))
    assert pair.decode(torch.zeros(4, L), y).mean.argmax(-1).tolist() == y.tolist()
    assert pair.decode(torch.zeros(2, 4, L), y.expand(2, 4)).batch_shape == (2, 4)


def test_missing_and_impossible_labels_are_refused_by_name():
    pair, x, y = small(), torch.zeros(4, 6), torch.tensor([0, 1, 2, 0])
    for program in (pair.model, pair.guide):
        with pytest.raises(ModelError, match=r"needs labels y of shape \[4\], integers, beside x"):
            program(x)
        with pytest.raises(ModelError, match=r"expected labels y, integers of shape \[4\], got torch.int64 \[3\]"):
            program(x, y[:3])
        with pytest.raises(ModelError, match=r"got torch\.float32"):
            program(x, y.float())
    with pytest.raises(ModelError, match="takes labels: expected y"):
        pv.fit(pair, x, progress=False)
    with pytest.raises(ModelError, match="takes labels: expected y"):
        pv.evaluate(pair, x)
    with pytest.raises(DataError, match="1 of 4 labels are missing"):
        pv.evaluate(pair, x, y=y - 1 + (y > 0).long() + (torch.arange(4) > 2).long())
    with pytest.raises(ModelError, match=r"expected categories 0, \.\.\., 2"):
        pair.sample(2, y=[0, 3])
    with pytest.raises(ModelError, match=r"expected one category for all or 3 of them, got shape \[2\]"):
        pair.sample(3, y=[0, 1])
    for impossible in (-1, 3):
        with pytest.raises(ModelError, match=r"expected categories 0, \.\.\., 2, got "):
            pair.encode(x, torch.full((4,), impossible))
        with pytest.raises(ModelError, match=r"expected categories 0, \.\.\., 2, got "):
            pair.model(y=torch.full((4,), impossible))
    with pytest.raises(ModelError, match="unknown prior 'flat'"):
        small(prior="flat")
