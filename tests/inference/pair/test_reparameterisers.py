"""Pyro's reparameterisers (``pyro.infer.reparam``) in a model: the same log p(x) as without, or the true reason."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import autoguide, reparam

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.simulation import simulate

# z ~ N(0, 1)^2, x | z ~ N(W z, S^2): a normal posterior, and log p(x) of N(0, W W' + S^2).
W, S = torch.tensor([[1.0, 0.3], [-0.4, 0.8], [0.5, 0.5]]), 0.7
COVARIANCE = torch.linalg.inv(torch.eye(2) + W.T @ W / S**2)
X = torch.tensor([[0.3, -1.0, 0.2], [1.5, 0.4, -0.1], [-0.2, 0.9, 1.1]])
LOG_P = dist.MultivariateNormal(torch.zeros(3), W @ W.T + S**2 * torch.eye(3)).log_prob(X)


def seen(name, rule, prior, read=lambda z: z):
    """The model whose latent ``name`` is made by a reparameteriser, and read by ``read`` before the decoder."""

    def model(x):
        with pyro.plate("data", len(x)), poutine.reparam(config={name: rule}):
            z = pyro.sample(name, prior(len(x)))
            pyro.sample("x", dist.Normal(read(z) @ W.T, S).to_event(1), obs=x)

    return model


def normal(n, loc=0.0, scale=1.0):
    return dist.Normal(torch.full((n, 2), loc), scale).to_event(1)


def log_normal(n):
    return dist.LogNormal(torch.zeros(n, 2), 1.0).to_event(1)


def exact(site, turn=None):
    """The exact posterior, in coordinates that are turned."""
    turn = torch.eye(2) if turn is None else turn

    def guide(x):
        with pyro.plate("data", len(x)):
            loc = x @ W @ COVARIANCE.T / S**2
            pyro.sample(site, dist.MultivariateNormal(loc @ turn.T, turn @ COVARIANCE @ turn.T))

    return guide


def turned(rule):
    return rule.transform(torch.eye(2)).T


HAAR, COSINE = reparam.HaarReparam(dim=-1), reparam.DiscreteCosineReparam(dim=-1)
PAIRS = {
    "loc-scale": (
        seen("z", reparam.LocScaleReparam(0.0), lambda n: normal(n, 3.0, 0.5), lambda z: (z - 3.0) / 0.5),
        exact("z_decentered"),
    ),
    "transform": (
        seen("z", reparam.TransformReparam(), log_normal, torch.log),
        exact("z_base"),
    ),
    "haar": (seen("z", HAAR, normal), exact("z_haar", turned(HAAR))),
    "cosine": (seen("z", COSINE, normal), exact("z_dct", turned(COSINE))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_an_exact_guide_of_other_coordinates_knows_the_evidence(name):
    """All weights are p(x)."""
    evidence = pv.log_evidence(PAIRS[name], X, num_samples=5, progress=False).per_datum
    torch.testing.assert_close(evidence, LOG_P.to(evidence), rtol=1e-4, atol=1e-4)


def split():
    def guide(x):
        with pyro.plate("data", len(x)):
            for part in range(2):
                pyro.sample(f"z_split_{part}", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))

    return seen("z", reparam.SplitReparam([1, 1], -1), normal), guide


def mean_of_all(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=x)


def by_guide(rule, made, name):
    """The model seen through a guide that was fitted before, and a guide of the coordinates."""
    fitted = made(mean_of_all)
    fitted(X)
    standard = dist.Normal(torch.zeros(1), 1.0).to_event(1)
    return rule(fitted).reparam(mean_of_all), lambda x: pyro.sample(name, standard)


FOR_CHAINS = {
    # Its prior was called improper.
    "SplitReparam": split,
    # It was called masked in another way than the guide.
    "NeuTraReparam": lambda: by_guide(reparam.NeuTraReparam, autoguide.AutoDiagonalNormal, "mu_shared_latent"),
    # Its ELBO was told, 2 nats above log p(x).
    "StructuredReparam": lambda: by_guide(reparam.StructuredReparam, autoguide.AutoStructured, "mu_aux"),
}


@pytest.mark.parametrize("name", FOR_CHAINS)
def test_coordinates_without_a_prior_are_refused_by_who_made_them(name):
    for ask in (pv.evaluate, pv.log_evidence):
        with pytest.raises(ModelError, match=rf"{name} states the prior of '(z|mu)' as a weight, for chains"):
            ask(FOR_CHAINS[name](), X)


COUNTS = torch.tensor([0.0, 1.0, 4.0, 5.0])


def updated(x):
    """A rate of 5 trials whose reparameteriser draws it from its posterior given x."""
    rule = reparam.ConjugateReparam(dist.Beta(1 + x, 6 - x))
    with pyro.plate("data", len(x)), poutine.reparam(config={"rate": rule}):
        rate = pyro.sample("rate", dist.Beta(torch.full((len(x),), 2.0), 3.0))
        pyro.sample("x", dist.Binomial(5, rate), obs=x)


def test_a_conjugate_latent_is_integrated_out():
    evidence = pv.log_evidence((updated, lambda x: None), COUNTS, num_samples=3, progress=False).per_datum
    wanted = dist.BetaBinomial(torch.tensor(2.0), torch.tensor(3.0), 5).log_prob(COUNTS)
    torch.testing.assert_close(evidence, wanted.to(evidence), rtol=1e-4, atol=1e-4)


def test_a_model_whose_latents_are_drawn_given_the_data_is_not_simulated():
    """Its "prior" draws were those of the posterior of the data that were passed, and passed predictive checks."""
    with pytest.raises(ModelError, match=r"site 'rate' is a computed value with a log density .* cannot be simul"):
        simulate(updated, COUNTS)


def test_computed_values_without_a_weight_are_simulated():
    drawn = simulate(PAIRS["transform"][0], X)
    assert list(drawn.values) == ["z_base"]
    assert drawn.x.shape == X.shape
    assert not torch.equal(drawn.x, X)


def test_a_model_without_a_latent_site_says_so():
    pair = (updated, lambda x: None)
    with pytest.raises(ModelError, match="the model has no latent site"):
        pv.diagnostics.run_gaps(pair, COUNTS)


def stable(x):
    """z ~ N(0, 1), x | z ~ Stable(1.5, scale 0.5, loc z), which two auxiliary draws make a normal."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        with poutine.reparam(config={"x": reparam.SymmetricStableReparam()}):
            pyro.sample("x", dist.Stable(torch.full((len(x),), 1.5), 0.0, 0.5, z), obs=x)


def of_prior(x):
    half = math.pi / 2 * torch.ones(len(x))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x_uniform", dist.Uniform(-half, half))
        pyro.sample("x_exponential", dist.Exponential(torch.ones(len(x))))


def test_auxiliary_latents_that_lean_on_others_are_taken():
    """By the characteristic function exp(-|t / 2|^1.5 - t^2 / 2); log_evidence ended in an error of shapes."""
    x = torch.tensor([-1.0, 0.0, 0.5])
    evidence = pv.log_evidence((stable, of_prior), x, num_samples=5000, progress=False)
    t = torch.linspace(0, 20, 20001, dtype=torch.float64)
    density = torch.cos(t * x.double().unsqueeze(-1)) * (-((t / 2) ** 1.5) - t.square() / 2).exp()
    wanted = (torch.trapezoid(density, t) / math.pi).log()
    assert abs((evidence.per_datum - wanted).mean()) < 4 * evidence.stderr
