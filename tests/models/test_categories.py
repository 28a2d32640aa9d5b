"""Programs with a category, against brute force over it: value and gradient of what trains them."""

import itertools

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.discrete import configurations, num_configurations
from ppl_vae.models import CategoricalVAE, GaussianMixtureVAE, JointVAE
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_gradient, assert_mean

SHAPE, CATEGORIES = (5,), 3
NETWORK = MLP((4,), "tanh")


def small(kind, seed=0):
    """In float64, away from the small initial weights."""
    sizes = {"num_variables": 2} if kind is CategoricalVAE else {"latent_dim": 1}
    vae = kind(SHAPE, num_categories=CATEGORIES, network=NETWORK, seed=seed, **sizes).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return vae


def binary(n=3):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round().double()


def log_bernoulli(logits, x):
    return -nn.functional.softplus(torch.where(x > 0.5, -logits, logits)).sum(-1)


def log_normal(z, loc, sd):
    return -0.5 * ((z - loc) / sd).square() - sd.log() - 0.5 * np.log(2 * np.pi)


def exact_categorical(vae, x):
    """[N]: the sum over all C^M values written out."""
    log_q = vae.guide.head(vae.guide.encoder(x)).unflatten(-1, (2, CATEGORIES)).log_softmax(-1)
    total = 0
    for values in itertools.product(range(CATEGORIES), repeat=2):
        code = nn.functional.one_hot(torch.tensor(values), CATEGORIES).double().flatten()
        log_guide = sum(log_q[:, m, value] for m, value in enumerate(values))
        log_likelihood = log_bernoulli(vae.model.decoder(code[None]), x)
        total = total + log_guide.exp() * (log_likelihood - 2 * np.log(CATEGORIES) - log_guide)
    return total


def over_codes(f, loc, sd, order=40):
    """E f(z, log q(z)) over z ~ N(loc, sd^2) by quadrature, f from [N, Q] to [N, Q]: [N]."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(order))
    z = loc[:, None] + sd[:, None] * nodes
    return (weights / weights.sum() * f(z, log_normal(z, loc[:, None], sd[:, None]))).sum(1)


def exact_mixed(vae, x):
    """[N]: the sum over categories written out, the one-dimensional code by quadrature."""
    features = vae.guide.encoder(x)
    log_q = vae.guide.category_head(features).log_softmax(-1)
    total = 0
    for c in range(CATEGORIES):
        y = nn.functional.one_hot(torch.tensor(c), CATEGORIES).double().expand(len(x), -1)
        if isinstance(vae, JointVAE):
            heads, hidden = vae.guide.posterior, features
            log_prior_y, centre, width = -np.log(CATEGORIES), torch.zeros(()), torch.ones(())
        else:
            heads = vae.guide.conditional.family
            hidden = vae.guide.conditional.network(torch.cat([features, y], -1))
            prior = vae.model.prior
            log_prior_y, centre, width = prior.logits.log_softmax(0)[c], prior.loc[c], prior.log_scale[c].exp()

        def inner(z, log_guide, y=y, centre=centre, width=width):
            code = z[..., None]
            if isinstance(vae, JointVAE):
                code = torch.cat([y[:, None].expand(*z.shape, -1), code], -1)
            logits = vae.model.decoder(code.flatten(0, 1)).unflatten(0, z.shape)
            return log_bernoulli(logits, x[:, None]) + log_normal(z, centre, width) - log_guide

        loc, sd = heads.loc_head(hidden)[:, 0], (0.5 * heads.scale_head(hidden)[:, 0]).exp()
        total = total + log_q[:, c].exp() * (log_prior_y - log_q[:, c] + over_codes(inner, loc, sd))
    return total


def exact(vae, x):
    return exact_categorical(vae, x) if isinstance(vae, CategoricalVAE) else exact_mixed(vae, x)


def test_enumeration_over_several_variables_is_exact_without_noise():
    """Nine values: value and gradient to rounding."""
    vae, x = small(CategoricalVAE), binary()
    wanted = exact(vae, x)
    estimator = inf.Enumeration(vae.num_configurations)
    found = estimator.per_datum(vae.model, vae.guide, x)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    parameters = list(vae.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), parameters), torch.autograd.grad(wanted.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def gradient_draws(estimator, vae, x, repeats):
    """Values [R] and gradients {name: [R, *shape]} of independent estimates of the sum over x."""
    named, values, draws = dict(vae.named_parameters()), [], {}
    for _ in range(repeats):
        loss = estimator(vae.model, vae.guide)(x)
        values.append(-loss.detach())
        for name, gradient in zip(named, torch.autograd.grad(-loss, list(named.values())), strict=True):
            draws.setdefault(name, []).append(gradient)
    return torch.stack(values), {name: torch.stack(found) for name, found in draws.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "estimator"),
    [
        (CategoricalVAE, inf.RLOO(30)),
        (CategoricalVAE, inf.ScoreFunction(30)),
        (JointVAE, inf.RLOO(60)),
        (GaussianMixtureVAE, inf.RLOO(60)),
        (JointVAE, "enumeration"),
        (GaussianMixtureVAE, "enumeration"),
    ],
    ids=["categorical-rloo", "categorical-score", "joint-rloo", "mixture-rloo", "joint-exact", "mixture-exact"],
)
def test_value_and_gradient_are_exact_in_the_mean(kind, estimator):
    """Value within 4 standard errors of brute force; all gradients jointly, at the suite's false-alarm rate."""
    vae, x = small(kind), binary()
    wanted = exact(vae, x).sum()
    if estimator == "enumeration":
        # Each category has one draw of the code: as many copies of the data as other estimators have draws.
        estimator = inf.Enumeration(vae.num_configurations)
        copies = 20
        wanted, x = copies * wanted, x.repeat(copies, 1)
    values, draws = gradient_draws(estimator, vae, x, 100)
    assert_mean(values, wanted.item())
    named = dict(vae.named_parameters())
    exact_gradients = torch.autograd.grad(wanted, list(named.values()))
    assert_gradient(draws, dict(zip(named, exact_gradients, strict=True)), magnitude=wanted.abs().item())


@pytest.mark.parametrize("kind", [CategoricalVAE, JointVAE, GaussianMixtureVAE])
def test_vimco_and_the_plain_evaluation_agree_with_brute_force(kind):
    """The K = 2 bound lies above the ELBO and below that of K = 50; the evaluation's mean is the ELBO."""
    vae, x = small(kind), binary().repeat(200, 1)
    with torch.no_grad():
        elbo = exact(vae, binary()).mean().item()
        low, high = (inf.VIMCO(k).per_datum(vae.model, vae.guide, x) for k in (2, 50))
    found = pv.evaluate(vae, x, num_particles=20)
    assert found.closed_form
    assert_mean(found.elbo.unflatten(0, (200, 3)).mean(1), elbo)
    assert elbo < low.mean() < high.mean()


@pytest.mark.parametrize("kind", [JointVAE, GaussianMixtureVAE])
def test_a_history_weighs_every_category_by_its_probability(kind):
    """log likelihood minus KL is the bound itself; a plain mean over categories is another number."""
    vae, x = small(kind), binary()
    estimator = inf.Enumeration(CATEGORIES)
    with torch.no_grad():
        terms = estimator.run(vae.model, vae.guide, x)
        log_likelihood, kl = estimator.record(terms)
        assert (log_likelihood - kl).item() == pytest.approx(estimator.bound(terms).mean().item(), rel=1e-12)
        assert abs(log_likelihood - terms.log_likelihood.mean()) > 0.01


def test_several_variables_are_relaxed_together():
    """Draws lie on the simplex, rounded ones at its corners; the KL is exact, the rounded value unbiased."""
    vae, x = small(CategoricalVAE), binary()
    with torch.no_grad():
        log_q = vae.guide.head(vae.guide.encoder(x)).unflatten(-1, (2, CATEGORIES)).log_softmax(-1)
        kl = (log_q.exp() * (log_q + np.log(CATEGORIES))).sum((-2, -1))
        relaxed = inf.GumbelSoftmax(3, temperature=0.7)
        terms = relaxed.run(vae.model, vae.guide, x)
        torch.testing.assert_close(relaxed.kl(terms), kl.expand(3, -1))
        soft = terms.sites["y"].value
        torch.testing.assert_close(soft.sum(-1), torch.ones(3, 3, 2, dtype=x.dtype))
        assert not ((soft == 0) | (soft == 1)).all()
        rounded = inf.GumbelSoftmax(4000, straight_through=True)
        terms = rounded.run(vae.model, vae.guide, x)
        corners = terms.sites["y"].value
        torch.testing.assert_close(corners, corners.round())
        assert_mean((terms.log_likelihood - terms.kl()).mean(1), exact(vae, x).mean().item())


def test_configurations_are_all_values_once():

    bits = dist.Bernoulli(torch.full((3,), 0.5)).to_event(1)
    assert num_configurations(bits) == 8
    assert configurations(bits).tolist() == [list(v) for v in itertools.product((0.0, 1.0), repeat=3)]
    pair = dist.OneHotCategorical(torch.ones(2, 3) / 3).to_event(1)
    found = configurations(pair)
    assert found.shape == (9, 2, 3)
    assert len(found.flatten(1).unique(dim=0)) == 9
    assert found.argmax(-1)[:4].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]


def test_enumeration_names_the_number_it_needs():
    vae = small(CategoricalVAE)
    with pytest.raises(ModelError, match="site 'y' has 9 categories, not num_categories = 3"):
        inf.Enumeration(3).per_datum(vae.model, vae.guide, binary())
    with pytest.raises(ModelError, match=r"has 9 categories, not num_categories = 1$"):
        inf.Enumeration(1).per_datum(vae.model, vae.guide, binary())
    large = CategoricalVAE(SHAPE, 20, 10, network=NETWORK)
    with pytest.raises(ModelError, match=f"site 'y' has {10**20} categories, not num_categories = 10"):
        inf.Enumeration(10).per_datum(large.model, large.guide, binary().float())


def test_one_category_is_a_sum_of_one_term():
    """A joint VAE of one category has q(y|x) = p(y) = 1: its bound is the code's alone, by quadrature."""
    vae, x = JointVAE(SHAPE, 1, num_categories=1, network=NETWORK).double(), binary()
    features = vae.guide.encoder(x)
    loc, sd = vae.guide.posterior.loc_head(features)[:, 0], (0.5 * vae.guide.posterior.scale_head(features)).exp()

    def inner(z, log_guide):
        code = torch.stack([torch.ones_like(z), z], -1)
        logits = vae.model.decoder(code.flatten(0, 1)).unflatten(0, z.shape)
        return log_bernoulli(logits, x[:, None]) + log_normal(z, torch.zeros(()), torch.ones(())) - log_guide

    wanted = over_codes(inner, loc, sd[:, 0]).detach()
    found = inf.Enumeration(vae.num_configurations).per_datum(vae.model, vae.guide, x.repeat(500, 1)).detach()
    for n in range(len(x)):
        assert_mean(found[n :: len(x)], wanted[n].item())


def test_the_mixtures_component_and_code_add_up_to_the_mixture_prior():
    vae = small(GaussianMixtureVAE)
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    each = [
        vae.model.prior.logits.log_softmax(0)[c] + vae.model.component(one).log_prob(z)
        for c, one in enumerate(torch.eye(CATEGORIES, dtype=torch.float64))
    ]
    torch.testing.assert_close(torch.stack(each).logsumexp(0), vae.model.prior().log_prob(z))


def test_categories_and_codes_are_given_as_integers_or_one_hot():
    vae, x = small(JointVAE), binary()
    z, y = vae.encode(x).mean, vae.categories(x).mean.argmax(-1)
    by_number, by_vector = (vae.decode(z, given).mean for given in (y, nn.functional.one_hot(y, CATEGORIES)))
    assert torch.equal(by_number, by_vector)
    assert torch.equal(by_number.detach(), vae.reconstruct(x))
    other = vae.decode(z, (y + 1) % CATEGORIES).mean
    assert (other - by_number).abs().max() > 1e-3
    mixture = small(GaussianMixtureVAE)
    y = mixture.categories(x).mean.argmax(-1)
    assert torch.equal(mixture.encode(x, y).mean, mixture.encode(x).mean)
    assert torch.equal(mixture.decode(mixture.encode(x).mean).mean.detach(), mixture.reconstruct(x))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([0, 1, 3]), r"site 'y': expected categories 0, ..., 2, got \[0, 1, 3\]"),
        (torch.tensor([0, 1]), r"site 'y': expected integers of shape \[3\] or one-hot vectors of shape \[3, 3\]"),
        (torch.rand(3), r"one-hot vectors of shape \[3, 3\], got torch.float32 of shape \[3\]"),
        (torch.zeros(3, 4), r"got torch.float32 of shape \[3, 4\]"),
    ],
)
def test_other_categories_are_refused(y, message):
    vae = small(JointVAE)
    with pytest.raises(ModelError, match=message):
        vae.decode(torch.zeros(3, 1), y)


def test_sizes_and_codes_that_cannot_be_meant_are_refused():
    with pytest.raises(ModelError, match="num_categories must be an integer of at least 1, got 0"):
        JointVAE(SHAPE, 2, num_categories=0)
    with pytest.raises(ModelError, match="num_variables must be an integer of at least 1, got None"):
        CategoricalVAE(SHAPE, num_variables=None)
    with pytest.raises(ModelError, match=r"site 'y': expected codes of shape \[N, 2, 3\], got \[3, 3\]"):
        small(CategoricalVAE).decode(torch.zeros(3, 3))
    with pytest.raises(ModelError, match=r"site 'z': expected codes of shape \[N, 1\], got \[3, 2\]"):
        small(GaussianMixtureVAE).decode(torch.zeros(3, 2))


def test_the_history_of_enumeration_is_the_elbo():
    """Every category counts by its probability; at a learning rate of nothing the ELBO is the start's."""
    vae, x = small(CategoricalVAE), binary(8)
    exact = exact_categorical(vae, x).mean().item()
    elbo = inf.Enumeration(vae.num_configurations)
    run = pv.fit(vae, x, elbo=elbo, epochs=1, batch_size=8, lr=1e-15, progress=False, compile=False)
    assert run.history["train_elbo"][0] == pytest.approx(exact, abs=1e-9)
