"""Pairs of every shape: chains of sites, flows, full covariances, and the refusals that name a site."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.distributions import transforms
from torch import nn

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.hierarchy import ORDERS, PHI, Chain, chain_workbench, expected
from tests.inference.oracles import (
    assert_gradient,
    assert_jointly,
    assert_mean,
    estimate,
    expect,
    gradient_of,
    log_mean_exp,
    repeated,
)

pytestmark = pytest.mark.usefixtures("one_thread")

X = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.1]], dtype=torch.float64)


# Chains of latent sites ------------------------------------------------------------------------------------

# estimator -> draws inside the bound, and the bound
CHAIN = {
    "monte-carlo-kl": (lambda: inf.MonteCarloKL(2), 1, lambda w: w[0]),
    "sticking-the-landing": (lambda: inf.StickingTheLanding(2), 1, lambda w: w[0]),
    "entropy": (inf.EntropyAnalytic, 1, lambda w: w[0]),
    "score-function": (inf.ScoreFunction, 1, lambda w: w[0]),
    "rloo": (inf.RLOO, 1, lambda w: w[0]),
    "iwae": (lambda: inf.ImportanceWeighted(2), 2, log_mean_exp),
    "dreg": (lambda: inf.DReG(2), 2, log_mean_exp),
    "vimco": (lambda: inf.VIMCO(2), 2, log_mean_exp),
    "miwae": (lambda: inf.MIWAE(2, 2), 2, log_mean_exp),
    "analytic-kl": (inf.AnalyticKL, 1, lambda w: w[0]),
}


@pytest.mark.parametrize(
    ("case", "order"),
    [(case, order) for case in CHAIN for order in ORDERS if (case, order) != ("analytic-kl", "bottom-up")],
)
def test_a_chain_of_sites_has_the_exact_value_and_gradient(case, order):
    make, draws, bound = CHAIN[case]
    p, x = chain_workbench(order)
    exact = lambda p: expected(p, x, bound, draws, order)  # noqa: E731
    value, gradient = repeated(make(), lambda: Chain(p, x, 10_000, order), chunks=3)
    assert_mean(value, exact(p))
    assert_gradient(gradient, gradient_of(exact, p, p))


@pytest.mark.parametrize("case", ["piwae", "cubo"])
def test_a_chain_under_different_weights_for_theta_and_phi(case):
    p, x = chain_workbench("top-down")
    lower = lambda p: expected(p, x, log_mean_exp, 2, "top-down")  # noqa: E731
    if case == "piwae":
        estimator, sign = inf.PIWAE(1, num_outer=2), 1
        other = lambda p: expected(p, x, lambda w: w[0], 1, "top-down")  # noqa: E731
    else:
        estimator, sign = inf.CUBO(2), -1
        other = lambda p: expected(p, x, lambda w: log_mean_exp(2 * w) / 2, 2, "top-down")  # noqa: E731
    exact = gradient_of(lower, p, ("slope", "weight"))
    exact |= {name: sign * g for name, g in gradient_of(other, p, PHI).items()}
    _, gradient = repeated(estimator, lambda: Chain(p, x, 10_000, "top-down"), chunks=3)
    assert_gradient(gradient, exact)


def test_a_chain_in_another_order_than_the_models_has_no_sum_of_closed_forms():
    p, x = chain_workbench("bottom-up")
    with pytest.raises(
        ModelError, match=r"guide draws sites \['z2', 'z1'\] and model \['z1', 'z2'\].*MonteCarloKL"
    ):
        estimate(inf.AnalyticKL(), Chain(p, x, 2, "bottom-up"))


@pytest.mark.parametrize("order", ORDERS)
def test_the_path_derivative_of_a_chain_vanishes_at_the_exact_posterior(order):
    p, x = chain_workbench(order, off=0.0)
    for estimator in (inf.StickingTheLanding(), inf.DReG(3)):
        _, gradient = repeated(estimator, lambda: Chain(p, x, 500, order), chunks=1)
        assert max(gradient[name].var(0).max() for name in PHI) < 1e-20
    _, total = repeated(inf.MonteCarloKL(), lambda: Chain(p, x, 500, order), chunks=1)
    assert min(total[name].var(0).max() for name in PHI) > 1e-2


@pytest.mark.parametrize("order", ORDERS)
def test_dreg_on_a_chain_has_iwaes_mean_paired(order):
    p, x = chain_workbench(order)
    _, iwae = repeated(inf.ImportanceWeighted(6), lambda: Chain(p, x, 10_000, order), chunks=2)
    _, dreg = repeated(inf.DReG(6), lambda: Chain(p, x, 10_000, order), chunks=2)
    difference = torch.cat([dreg[name] - iwae[name] for name in PHI], dim=1)
    assert (difference.mean(0) / difference.std(0) * math.sqrt(len(difference))).abs().max() < 4


# Where the guide keeps its parameters does not matter ---------------------------------------------------------


class Networks(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first, self.then = nn.Linear(2, 1).double(), nn.Linear(3, 1).double()

    def run(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.first(x), 0.7).to_event(1))
            both = torch.cat([x.expand(*z1.shape[:-1], 2), z1], -1)
            pyro.sample("z2", dist.Normal(self.then(both), 0.5).to_event(1))


class AsModule(Networks):
    forward = Networks.run


class AsRegisteredModule(Networks):
    def forward(self, x):
        pyro.module("networks", self)
        self.run(x)


def as_method():
    networks = Networks()
    return networks.run, networks


def as_closure():
    networks = Networks()
    return (lambda x: networks.run(x)), networks


def as_pyro_module():
    networks = Networks()

    def guide(x):
        pyro.module("networks", networks)
        networks.run(x)

    return guide, networks


def as_module():
    networks = AsModule()
    return networks, networks


def as_registered_module():
    networks = AsRegisteredModule()
    return networks, networks


def chain_model(x):
    with pyro.plate("data", len(x)):
        z1 = pyro.sample("z1", dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1))
        z2 = pyro.sample("z2", dist.Normal(z1, 1).to_event(1))
        pyro.sample("x", dist.Normal(torch.cat([z1, z2], -1), 1).to_event(1), obs=x)


@pytest.mark.parametrize("make", [as_module, as_method, as_closure, as_pyro_module, as_registered_module])
def test_the_parameters_of_a_chain_are_stopped_wherever_they_are_kept(make):
    gradients = []
    for kept in (as_module, make):
        torch.manual_seed(0)
        guide, networks = kept()
        terms = inf.trace_terms(chain_model, guide, X, num_particles=3, gradient="path")
        loss = inf.DReG(3).forward(terms)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(networks.parameters()))]))
        assert all(parameter.requires_grad for parameter in networks.parameters())
    torch.testing.assert_close(*gradients)


def test_the_parameters_of_a_chain_in_the_store_are_stopped_too():
    def guide(x):
        loc = pyro.param("loc", torch.zeros(1, dtype=x.dtype))
        scale = pyro.param("scale", torch.ones(1, dtype=x.dtype), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(loc, scale).expand([len(x), 1]).to_event(1))
            pyro.sample("z2", dist.Normal(loc + z1, scale).to_event(1))

    terms = inf.trace_terms(chain_model, guide, X, gradient="path")
    stopped = [site.q_stopped.log_prob(site.value.detach()) for site in terms.sites.values()]
    assert not stopped[0].requires_grad
    # q(z2 | z1) depends on z1 alone; only through it does a gradient reach the store.
    leaf = pyro.get_param_store()._params["loc"]
    (through_z1,) = torch.autograd.grad(stopped[1].sum(), leaf)
    z1, z2 = (terms.sites[name].value for name in ("z1", "z2"))
    torch.testing.assert_close(through_z1, (z2 - z1 - leaf).sum().detach().view(1))


# Flows and full covariances ------------------------------------------------------------------------------------

FLOW = {"loc": torch.tensor([0.4], dtype=torch.float64), "log_scale": torch.tensor([-0.3], dtype=torch.float64)}


class FlowCopies:
    """z = 3 tanh(loc + scale eps), z ~ N(0, 1), x | z ~ N(z, 1/4); leaves for every copy."""

    def __init__(self, p, x, groups):
        self.groups, self.x = groups, x.expand(groups, 1)
        self.p = {name: value.expand(groups, 1).clone().requires_grad_() for name, value in p.items()}
        self.live = self.p

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(self, x):
        base = dist.Normal(self.p["loc"], self.p["log_scale"].exp()).to_event(1)
        steps = [torch.distributions.TanhTransform(), transforms.AffineTransform(0.0, 3.0)]
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(base, steps))


def flow_log_weights(p, x, eps):
    """[..., 1] -> [...]."""
    base = p["loc"] + p["log_scale"].exp() * eps
    z = 3 * base.tanh()
    log_q = -0.5 * eps**2 - p["log_scale"] - (3 * (1 - base.tanh() ** 2)).log()
    log_p = -0.5 * z**2 - 0.5 * ((x - z) / 0.5) ** 2 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    return (log_p - log_q).squeeze(-1)


@pytest.mark.parametrize(
    ("make", "draws", "bound"),
    [
        (inf.MonteCarloKL, 1, lambda w: w[0]),
        (inf.StickingTheLanding, 1, lambda w: w[0]),
        (lambda: inf.StickingTheLanding(3), 1, lambda w: w[0]),
        (inf.ScoreFunction, 1, lambda w: w[0]),
        (lambda: inf.ImportanceWeighted(2), 2, log_mean_exp),
        (lambda: inf.DReG(2), 2, log_mean_exp),
        (lambda: inf.VIMCO(2), 2, log_mean_exp),
    ],
    ids=["monte-carlo-kl", "stl", "stl-3", "score-function", "iwae", "dreg", "vimco"],
)
def test_a_flow_guide_has_the_exact_value_and_gradient(make, draws, bound):
    x = torch.tensor([0.9], dtype=torch.float64)

    def exact(p):
        return expect(lambda eps: bound(flow_log_weights(p, x, eps)), draws, 1, order=80)

    value, gradient = repeated(make(), lambda: FlowCopies(FLOW, x, 20_000), chunks=3)
    assert_mean(value, exact(FLOW))
    assert_gradient(gradient, gradient_of(exact, FLOW, FLOW))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("analytic-kl", r"site 'z': no closed-form KL between TransformedDistribution.*use MonteCarloKL"),
        ("entropy", r"site 'z': TransformedDistribution.* has no closed-form entropy; use MonteCarloKL"),
    ],
)
def test_a_flow_guide_has_no_closed_form_and_the_site_is_named(name, message):
    with pytest.raises(ModelError, match=message):
        estimate(inf.get_elbo(name), FlowCopies(FLOW, X[0, :1], 3))


@pytest.fixture
def _double_by_default():
    # Pyro's flows make their buffers, and start their inverses, in the default dtype.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def flow_pair(make):
    flow, head = make(2), nn.Linear(2, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(head(x), 0.5).to_event(1), [flow]))

    return model, guide, [*head.parameters(), *flow.parameters()]


@pytest.mark.slow
@pytest.mark.usefixtures("_double_by_default")
@pytest.mark.parametrize("make", [transforms.spline, transforms.affine_autoregressive])
def test_the_path_derivative_of_a_flow_with_weights_is_that_of_the_total_one(make):
    torch.manual_seed(0)
    model, guide, weights = flow_pair(make)
    x = X[:1].expand(500, 2)
    difference = []
    for seed in range(100):
        pair = []
        for estimator in (inf.MonteCarloKL(), inf.StickingTheLanding()):
            torch.manual_seed(seed)
            terms = inf.trace_terms(model, guide, x, gradient=estimator.gradient)
            gradient = torch.autograd.grad(estimator.forward(terms), weights, materialize_grads=True)
            pair.append(torch.cat([g.flatten() for g in gradient]))
        difference.append(pair[0] - pair[1])
    draws = torch.stack(difference)
    moving = draws.std(0) > 0
    assert moving.sum() > 10
    mean, error = draws.mean(0)[moving], draws.std(0)[moving] / math.sqrt(len(draws))
    assert_jointly(mean, error, torch.zeros_like(mean), magnitude=10.0)


@pytest.mark.usefixtures("_double_by_default")
def test_a_flow_without_an_inverse_is_refused_by_the_path_derivative_only():
    torch.manual_seed(0)
    model, guide, weights = flow_pair(transforms.planar)
    terms = inf.trace_terms(model, guide, X, num_particles=2)
    assert all(g.isfinite().all() for g in torch.autograd.grad(inf.MonteCarloKL(2).forward(terms), weights))
    for name in ("sticking-the-landing", "dreg"):
        estimator = inf.get_elbo(name)
        with pytest.raises(ModelError, match=r"site 'z': .* has no inverse"):
            estimator.per_datum(model, guide, X)


def test_a_full_covariance_guide_has_the_same_bound_in_every_form():
    tril = torch.tensor([[0.8, 0.0], [0.5, 0.6]], dtype=torch.float64)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(0.7 * x, scale_tril=tril))

    datum = X[0]
    covariance, loc = tril @ tril.T, 0.7 * datum
    fit = -0.5 * ((datum - loc) ** 2 + covariance.diagonal()).sum() / 0.25 - math.log(2 * math.pi * 0.25)
    kl = 0.5 * (covariance.trace() + loc @ loc - 2) - tril.diagonal().log().sum()
    for name in ("analytic-kl", "monte-carlo-kl", "entropy", "sticking-the-landing"):
        torch.manual_seed(0)
        draws = inf.get_elbo(name).per_datum(model, guide, datum.expand(20_000, 2))
        assert_mean(draws, fit - kl)


# Scales and masks ------------------------------------------------------------------------------------------------


def scaled_pair(model_scale=1.0, guide_scale=1.0):
    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=model_scale):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=guide_scale):
            pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1))

    return model, guide


@pytest.mark.parametrize(("model_scale", "guide_scale"), [(4.0, 1.0), (1.0, 4.0), (2.0, 3.0)])
@pytest.mark.parametrize("name", ["analytic-kl", "monte-carlo-kl", "iwae"])
def test_a_divergence_scaled_on_one_side_only_is_refused_by_name(name, model_scale, guide_scale):
    message = f"site 'z' is scaled by {guide_scale} in the guide but by {model_scale} in the model; scale both"
    with pytest.raises(ModelError, match=message):
        inf.get_elbo(name).per_datum(*scaled_pair(model_scale, guide_scale), X)


@pytest.mark.parametrize("name", inf.list_estimators())
def test_a_divergence_scaled_on_both_sides_is_a_weight_under_every_estimator(name):
    found = []
    for pair, beta in ((scaled_pair(4.0, 4.0), 1.0), (scaled_pair(), 4.0)):
        torch.manual_seed(0)
        estimator = inf.get_elbo(name)
        terms = inf.trace_terms(*pair, X, num_particles=estimator.num_draws, gradient=estimator.gradient)
        found.append(estimator.bound(terms.weighted(beta)))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["analytic-kl", "monte-carlo-kl", "entropy", "iwae"])
def test_a_mask_leaves_the_terms_of_some_data_out(name):
    keep = torch.tensor([True, False, True])

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=keep):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.mask(mask=keep):
            pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1))

    estimator = inf.get_elbo(name, num_particles=2)
    torch.manual_seed(0)
    masked = estimator.per_datum(model, guide, X)
    torch.manual_seed(0)
    plain = estimator.per_datum(*scaled_pair(), X)
    torch.manual_seed(0)
    terms = inf.trace_terms(*scaled_pair(), X, num_particles=2)
    likelihood_only = estimator.bound(terms.weighted(0.0))
    torch.testing.assert_close(masked, torch.where(keep, plain, likelihood_only))


# Refusals ------------------------------------------------------------------------------------------------------


def z_site(x, name="z", event=True):
    loc = dist.Normal(torch.zeros(2, dtype=x.dtype), 1)
    return pyro.sample(name, loc.to_event(1) if event else loc)


def x_site(z, x, name="x"):
    return pyro.sample(name, dist.Normal(z, 0.5).to_event(1), obs=x)


def good_model(x):
    with pyro.plate("data", len(x)):
        x_site(z_site(x), x)


def good_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1))


def sequential_model(x):
    for n in pyro.plate("data", len(x)):
        z = pyro.sample(f"z{n}", dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1))
        pyro.sample(f"x{n}", dist.Normal(z, 0.5).to_event(1), obs=x[n])


def sequential_guide(x):
    for n in pyro.plate("data", len(x)):
        pyro.sample(f"z{n}", dist.Normal(0.7 * x[n], 0.6).to_event(1))


def plateless_model(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(3, 2, dtype=x.dtype), 1).to_event(1))
    x_site(z, x)


def plateless_guide(x):
    pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1))


def observed_outside_model(x):
    with pyro.plate("data", len(x)):
        z = z_site(x)
    pyro.sample("x", dist.Normal(z, 0.5).to_event(2), obs=x)


def deep_model(x):
    with pyro.plate("data", len(x), dim=-2):
        z = z_site(x)
        x_site(z, x.unsqueeze(1))


def deep_guide(x):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(0.7 * x.unsqueeze(1), 0.6).to_event(1))


def two_plates_model(x):
    with pyro.plate("rows", len(x), dim=-2), pyro.plate("columns", 2, dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def two_plates_guide(x):
    with pyro.plate("rows", len(x), dim=-2), pyro.plate("columns", 2, dim=-1):
        pyro.sample("z", dist.Normal(0.7 * x, 0.6))


def unequal_plates_model(x):
    with pyro.plate("data", len(x)):
        z = z_site(x)
        x_site(z, x)
    with pyro.plate("more", len(x) + 1):
        pyro.sample("y", dist.Normal(torch.zeros(len(x) + 1, dtype=x.dtype), 1), obs=torch.zeros(len(x) + 1))


def two_latents_model(x):
    with pyro.plate("data", len(x)):
        z_site(x, "w")
        x_site(z_site(x), x)


def two_latents_guide(x):
    with pyro.plate("data", len(x)):
        for name in ("z", "w"):
            pyro.sample(name, dist.Normal(0.7 * x, 0.6).to_event(1))


def observing_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1), obs=x)


def guide_of_the_data(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.7 * x, 0.6).to_event(1))
        pyro.sample("x", dist.Normal(x, 0.6).to_event(1))


def unobserving_model(x):
    with pyro.plate("data", len(x)):
        z_site(x)


def eventless_model(x):
    with pyro.plate("data", len(x)):
        z = z_site(x)
        pyro.sample("x", dist.Normal(z.sum(-1), 0.5), obs=x.sum(-1))
        with pyro.plate("pixels", 2, dim=-2):
            pyro.sample("y", dist.Normal(z.sum(-1), 0.5), obs=x.T)


def discrete_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.5, dtype=x.dtype)).to_event(1))
        x_site(z, x)


def discrete_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(logits=x).to_event(1))


REFUSALS = {
    "sequential-plate": (sequential_model, sequential_guide, r"site 'z0' stands in the sequential plate 'data'"),
    "no-plate": (plateless_model, plateless_guide, r"site 'z' stands in no plate, and no observed site does"),
    "observed-outside": (observed_outside_model, good_guide, r"site 'x' stands in no plate"),
    "one-sided-plate": (
        good_model,
        two_plates_guide,
        r"site 'z' stands in .*'rows'.*'columns'.* in the guide and in",
    ),
    "missing-latent": (
        two_latents_model,
        good_guide,
        r"site 'w' is latent in the model but missing from the guide",
    ),
    "guide-only": (
        good_model,
        two_latents_guide,
        r"site 'w' is in the guide but not in the model.*reverse model r\(w \| x, z\)",
    ),
    "observed-in-guide": (good_model, observing_guide, r"site 'z' is observed in the guide"),
    "data-in-guide": (good_model, guide_of_the_data, r"site 'x' is sampled in the guide but observed in the model"),
    "nothing-observed": (unobserving_model, good_guide, r"the model observes nothing: no site has obs="),
    "not-reparameterised": (discrete_model, discrete_guide, r"site 'z': .* has no reparameterised draws"),
}


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("case", REFUSALS)
def test_a_pair_that_would_give_a_wrong_number_is_refused_by_name(case, particles):
    model, guide, message = REFUSALS[case]
    with pytest.raises(ModelError, match=message):
        inf.trace_terms(model, guide, X, num_particles=particles).log_weight  # noqa: B018


def log_normal(value, loc, scale):
    return -0.5 * ((value - loc) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("case", ["data plate at -2", "a plate inside the datum", "pixels on the left"])
def test_plates_inside_a_datum_are_summed_into_it(case, particles):
    model, guide = {
        "data plate at -2": (deep_model, deep_guide),
        "a plate inside the datum": (two_plates_model, two_plates_guide),
        "pixels on the left": (eventless_model, good_guide),
    }[case]
    terms = inf.trace_terms(model, guide, X, num_particles=particles)
    z = terms.sites["z"].value.reshape(particles, 3, 2)
    torch.testing.assert_close(terms.log_prior, log_normal(z, 0.0, 1.0).sum(-1))
    loc, scale = (0.7 * X, 0.6)
    torch.testing.assert_close(terms.log_guide, log_normal(z, loc, scale).sum(-1))
    if case == "pixels on the left":
        mean = z.sum(-1, keepdim=True)
        exact = (
            log_normal(X.sum(-1, keepdim=True), mean, 0.5) + log_normal(X, mean, 0.5).sum(-1, keepdim=True)
        ).sum(-1)
    else:
        exact = log_normal(X, z, 0.5).sum(-1)
    torch.testing.assert_close(terms.log_likelihood, exact)


def test_an_observed_site_in_a_plate_of_its_own_belongs_to_the_set():
    terms = inf.trace_terms(unequal_plates_model, good_guide, X, num_particles=3)
    zeros = torch.zeros(4, dtype=X.dtype)
    assert terms.log_likelihood.shape == (3, 3)
    torch.testing.assert_close(terms.whole.log_likelihood, log_normal(zeros, 0.0, 1.0).sum().expand(3, 1))


@pytest.mark.parametrize("particles", [1, 3])
def test_a_missing_to_event_is_refused_by_name(particles):
    # Two independent coordinates per datum in a plate of three: without .to_event(1) the shapes do not fit.
    def model(x):
        with pyro.plate("data", len(x)):
            z = z_site(x)
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    with pytest.raises(ModelError, match=r"plate\('data'\) at site x .*is an \.to_event\(\) missing"):
        inf.trace_terms(model, good_guide, X, num_particles=particles).log_weight  # noqa: B018


@pytest.mark.parametrize("particles", [1, 3])
def test_a_missing_to_event_of_square_data_is_refused_by_name(particles):
    # As many coordinates as data: every shape fits, and the number would be wrong.
    square = torch.eye(3, dtype=torch.float64)

    def model(x):
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Normal(torch.zeros(3, dtype=x.dtype), 1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    with pytest.raises(ModelError, match=r"'x'"):
        inf.trace_terms(model, good_guide, square, num_particles=particles).log_weight  # noqa: B018


def test_a_mark_makes_no_bound_of_an_auxiliary_site():
    def guide(x):
        with pyro.plate("data", len(x)):
            noise = dist.Normal(torch.zeros(2, dtype=x.dtype), 1).to_event(1)
            u = pyro.sample("u", noise, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(0.7 * x + 0.1 * u, 0.6).to_event(1))

    with pytest.raises(ModelError, match=r"site 'u' is in the guide but not in the model"):
        inf.trace_terms(good_model, guide, X).log_weight  # noqa: B018


@pytest.mark.parametrize("side", ["model", "guide"])
def test_a_mask_on_one_side_only_is_refused(side):
    mask = torch.tensor([True, False, True])

    def program(masked, observe):
        def run(x):
            with pyro.plate("data", len(x)):
                prior = dist.Normal(x.new_zeros(2), 1.0).to_event(1)
                with poutine.mask(mask=mask if masked else torch.ones(3, dtype=torch.bool)):
                    z = pyro.sample("z", prior)
                if observe:
                    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        return run

    model, guide = program(side == "model", True), program(side == "guide", False)
    with pytest.raises(ModelError, match="site 'z' is masked differently in the guide and in the model"):
        inf.trace_terms(model, guide, X)
    inf.trace_terms(program(True, True), program(True, False), X)
