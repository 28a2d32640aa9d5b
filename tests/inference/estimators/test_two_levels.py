"""Every estimator at two levels: value and gradient against the conjugate model's exact numbers."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.given_noise import GivenNoise
from tests.inference.oracles import assert_gradient, assert_mean, log_mean_exp
from tests.inference.two_levels import (
    PHI,
    THETA,
    Draws,
    Sets,
    X,
    exact_gradient,
    global_kl,
    hermite,
    local_bound,
    log_evidence_of_the_set,
    log_normal,
    log_weights,
    parameters,
    plain_pair,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def over_draws(function):
    """A bound of weights [K, ...] as one of [..., K, N]."""
    return lambda w: function(w.movedim(-2, 0))


ONE = over_draws(lambda w: w[0])
TWO = over_draws(log_mean_exp)
# estimator -> the pair's copies for its gradient, draws inside the bound, the bound of a datum
CASES = {
    "analytic-kl": (inf.AnalyticKL, "sets", 1, ONE),
    "monte-carlo-kl": (partial(inf.MonteCarloKL, 2), "sets", 1, ONE),
    "entropy": (inf.EntropyAnalytic, "sets", 1, ONE),
    "sticking-the-landing": (inf.StickingTheLanding, "sets", 1, ONE),
    "iwae": (partial(inf.ImportanceWeighted, 2), "sets", 2, TWO),
    "dreg": (partial(inf.DReG, 2), "sets", 2, TWO),
    "miwae": (partial(inf.MIWAE, 2, 3), "sets", 2, TWO),
    "ciwae": (partial(inf.CIWAE, 2, 0.3), "sets", 2, lambda w: 0.3 * ONE(w) + 0.7 * TWO(w)),
    "renyi": (partial(inf.Renyi, 2, 0.5), "sets", 2, over_draws(lambda w: log_mean_exp(0.5 * w) / 0.5)),
    "score-function": (partial(inf.ScoreFunction, 4000), "draws", 1, ONE),
    "rloo": (partial(inf.RLOO, 4000), "draws", 1, ONE),
    "vimco": (partial(inf.VIMCO, 2), "alone", 2, TWO),
}  # fmt: skip
REPEATS = 6


def bound_of_set(p, bound, draws):
    return local_bound(p, X, bound, draws) - global_kl(p)


def copies(kind, p, estimator):
    if kind == "sets":
        return Sets(p, X, 600)
    return Draws(p, X, estimator.num_particles if kind == "draws" else 1)


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c == "vimco" else c for c in CASES])
def test_value_and_gradient_are_exact(case):
    make, kind, draws, bound = CASES[case]
    torch.manual_seed(11)
    p, estimator = parameters(), make()
    pair = copies(kind, p, estimator)
    number = 3000 if kind == "alone" else REPEATS
    local, of_set, gradients = [], [], []
    for _ in range(number):
        terms = estimator.run(pair.model, pair.guide, pair.x)
        loss = estimator.forward(terms) * terms.num_total
        scale = estimator.num_particles if kind == "draws" else 1
        gradients.append({name: scale * g for name, g in pair.gradient(loss).items()})
        local.append(estimator.bound(terms).detach().view(-1, len(X)).sum(1))
        of_set.append(estimator.global_bound(terms).detach() / (pair.sets if kind == "sets" else 1))
    local, of_set = torch.cat(local), torch.stack(of_set)
    assert_mean(local, local_bound(p, X, bound, draws)) if len(local) > REPEATS else None
    magnitude = 1.0 if of_set.std() > 1e-12 else 1e4
    stderr = of_set.std() / math.sqrt(len(of_set))
    assert (of_set.mean() + global_kl(p)).abs() < 5 * stderr + 1e-10 * magnitude
    stacked = {name: torch.cat([g[name] for g in gradients]) for name in p}
    assert_gradient(stacked, exact_gradient(lambda p: bound_of_set(p, bound, draws), p), magnitude=1e4)


def test_partly_weighted_draws_train_the_model_by_one_bound_and_the_local_guide_by_the_other():
    torch.manual_seed(3)
    p, estimator = parameters() | {"b": torch.zeros((), dtype=torch.float64)}, inf.PIWAE(1, num_outer=2)
    pair = Sets(p, X, 3000)
    gradient = pair.gradient(
        estimator.loss_and_grads and estimator.differentiable_loss(pair.model, pair.guide, pair.x)
    )
    joint = exact_gradient(lambda p: bound_of_set(p, TWO, 2), p)
    alone = exact_gradient(lambda p: bound_of_set(p, ONE, 1), p)
    exact = {
        name: (alone if name in ("a", "log_w") else joint)[name] for name in (*THETA, "m", "log_v", "a", "log_w")
    }
    assert_gradient(gradient, exact, magnitude=1e4)


GLOBAL = ("m", "log_v")


def gradients_of(estimator, p, sets, repeats):
    """Values -loss and gradients of independent estimates, by parameter.

    Those of the model and the local guide come from sets side by side. The score of q(mu) takes the signal of all
    data of a run, so that of the global guide comes from runs of one set each.
    """
    pair, found = Sets(p, X, sets), []
    for _ in range(REPEATS):
        terms = estimator.run(pair.model, pair.guide, pair.x)
        found.append(pair.gradient(estimator.forward(terms) * terms.num_total))
    gradients = {name: torch.cat([g[name] for g in found]) for name in p if name not in GLOBAL}
    pair, found, values = Draws(p, X, 1), [], []
    for _ in range(repeats):
        terms = estimator.run(pair.model, pair.guide, pair.x)
        loss = estimator.forward(terms) * terms.num_total
        found.append(pair.gradient(loss))
        values.append(-loss.detach())
    return torch.stack(values), gradients | {name: torch.cat([g[name] for g in found]) for name in GLOBAL}


@pytest.mark.slow
def test_wake_sleep_climbs_the_bound_of_the_set_and_wakes_the_local_guide():
    """The model and the global guide have the gradient of the bound; the local guide that of the wake update."""
    torch.manual_seed(5)
    p = parameters()
    values, found = gradients_of(inf.WakeSleep(2), p, 2000, 300)
    assert_mean(values, bound_of_set(p, TWO, 2))
    exact = exact_gradient(lambda p: bound_of_set(p, TWO, 2), p)
    nodes, weights = hermite(24, 1)
    noise, noise_weights = hermite(24, 2)
    mu = p["m"] + p["log_v"].exp() * nodes[:, 0]
    share = log_weights(p, X, mu, noise).softmax(-2)
    z = p["a"] * X + p["b"] * mu.view(-1, 1, 1, 1) + p["log_w"].exp() * noise.unsqueeze(-1)

    def wake(phi):
        log_q = log_normal(z, phi["a"] * X + phi["b"] * mu.view(-1, 1, 1, 1), phi["log_w"])
        return weights @ ((share * log_q).sum((-2, -1)) @ noise_weights)

    exact |= {name: value for name, value in exact_gradient(wake, p).items() if name in ("a", "b", "log_w")}
    for name, draws in found.items():
        assert_mean(draws, exact[name])


@pytest.mark.slow
def test_the_thermodynamic_gradient_at_two_levels_is_that_of_quadrature():
    """Of every parameter; self-normalised weights of 400 draws leave a bias of order 1 / 400."""
    torch.manual_seed(5)
    p, estimator = parameters(), inf.Thermodynamic(400, 3)
    values, found = gradients_of(estimator, p, 150, 300)
    exact = exact_gradient(lambda p: thermodynamic_sum(p, estimator.points) - global_kl(p), p)
    stderr = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - (thermodynamic_sum(p, estimator.points) - global_kl(p))) < 4 * stderr + 0.01
    for name, draws in found.items():
        assert_mean(draws, exact[name], magnitude=1e10 * 0.02)


def thermodynamic_sum(p, points):
    """The left Riemann sum given mu of every datum, summed over data and averaged over q(mu): by quadrature."""
    nodes, weights = hermite(24, 1)
    mu = (p["m"] + p["log_v"].exp() * nodes[:, 0]).view(-1, 1, 1)
    z = torch.linspace(-12, 12, 6001, dtype=torch.float64).view(1, -1, 1)
    log_q = log_normal(z, p["a"] * X + p["b"] * mu, p["log_w"])
    log_weight = log_normal(z, mu, p["log_t"]) + log_normal(X, z, p["log_s"]) - log_q
    total = torch.zeros(len(mu), dtype=torch.float64)
    for b, width in zip(points[:-1], points.diff(), strict=True):
        share = (log_q + b * log_weight).softmax(1)
        total += width * (share * log_weight).sum((1, 2))
    return weights @ total


@pytest.mark.slow
def test_the_thermodynamic_bound_given_the_global_draw_is_that_of_quadrature():
    p, estimator = parameters(), inf.Thermodynamic(4000, 3)
    pair, values = plain_pair(p), []
    for seed in range(60):
        torch.manual_seed(seed)
        terms = estimator.run(*pair, X)
        values.append(-estimator.forward(terms).detach() * terms.num_total)
    values = torch.stack(values)
    exact = thermodynamic_sum(p, estimator.points) - global_kl(p)
    assert bound_of_set(p, ONE, 1) < exact < log_evidence_of_the_set(p, X)
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(len(values)) + 1e-3


def test_the_set_has_one_bound_whatever_the_batches_are():
    """Given the draws, the mean over all mini-batches of a size is the full bound, to rounding."""
    p, x = parameters(), torch.linspace(-1, 2, 6, dtype=torch.float64)
    model, guide = plain_pair(p)
    elbo = inf.AnalyticKL()
    torch.manual_seed(0)
    noise = {"mu": torch.randn((), dtype=torch.float64), "z": torch.randn(6, dtype=torch.float64)}

    def loss(rows):
        elbo.draw_handler = GivenNoise({"mu": noise["mu"], "z": noise["z"][rows]})
        with elbo.of_a_set(6):
            return elbo.forward(elbo.run(model, guide, x[rows])) * 6

    full = loss(torch.arange(6))
    for size in range(1, 6):
        batches = torch.combinations(torch.arange(6), size)
        mean = torch.stack([loss(rows) for rows in batches]).mean()
        assert abs(mean - full) < 1e-10


def test_a_weight_on_the_kl_is_on_the_local_sites_unless_both_are_asked_for():
    p = parameters()
    model, guide = plain_pair(p)
    terms = inf.trace_terms(model, guide, X)
    inner = inf.AnalyticKL()
    local = inf.Beta(inner, 3.0).forward(terms)
    both = inf.Beta(inner, 3.0, levels="both").forward(terms)
    plain = inner.forward(terms)
    torch.testing.assert_close(local - plain, 2 * terms.kl().mean())
    torch.testing.assert_close(both - local, 2 * global_kl(p) / 3)
    with pytest.raises(ModelError, match="levels"):
        inf.Beta(inner, 3.0, levels="all")


@pytest.mark.parametrize("make", [partial(inf.CUBO, 4), partial(inf.Renyi, 4, -0.5)])
def test_bounds_from_above_given_the_global_draw_are_refused_by_name(make):
    with pytest.raises(ModelError, match=r"site 'mu' is global: .*from above"):
        make().loss(*plain_pair(parameters()), X)


def test_several_draws_are_at_one_global_draw():
    model, guide = plain_pair(parameters())
    torch.manual_seed(0)
    elbo = inf.MIWAE(num_particles=3, num_outer=4)
    terms = elbo.run(model, guide, X)
    mu = terms.whole.sites["mu"].value[:, 0].view(4, 3)
    assert (mu == mu[:, :1]).all()
    assert len(mu[:, 0].unique()) == 4
    assert len(terms.sites["z"].value.flatten().unique()) == 36
    with pytest.raises(ModelError, match=r"site 'mu' is global: ImportanceWeighted needs 12 draws"):
        inf.ImportanceWeighted(12).bound(inf.trace_terms(model, guide, X, num_particles=12))


def test_evaluate_and_fit_tell_the_global_kl():
    p = {name: value.float() for name, value in parameters().items()}
    leaf = torch.nn.Parameter(p["m"].clone())
    model, _ = plain_pair(p)

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = leaf

        def forward(self, x):
            plain_pair(p | {"m": self.m})[1](x)

    found = pv.evaluate((model, Guide()), X.float(), num_particles=400)
    assert found.closed_form
    assert found.global_kl == pytest.approx(global_kl(p).item(), abs=1e-5)
    assert found.num_total == 3
    summary = found.summary()
    exact = bound_of_set(parameters(), ONE, 1) / 3
    share = summary["global_kl"] / 3
    assert summary["elbo"] == pytest.approx(summary["log_likelihood"] - summary["kl"] - share, abs=1e-5)
    assert abs(summary["elbo"] - exact) < 4 * found.draws_stderr
    assert pv.evaluate((model, Guide()), X.float(), num_total=300).elbo.mean() > summary["elbo"]
    data = X.float().repeat(4)
    result = pv.fit(
        (model, Guide()), data, epochs=2, batch_size=5, lr=1e-12, validation=X.float(), progress=False, device="cpu"
    )
    row = result.history.iloc[-1]
    assert row["train_global_kl"] == pytest.approx(global_kl(p).item(), abs=1e-5)
    assert row["loss"] == pytest.approx(-row["train_elbo"], abs=1e-5)
    for split in ("train", "validation"):
        parts = row[f"{split}_log_likelihood"] - row[f"{split}_kl"] - row[f"{split}_global_kl"] / 12
        assert row[f"{split}_elbo"] == pytest.approx(parts, abs=1e-5)


class LocalAlone(inf.Objective):
    """A user's own objective that knows of local sites alone."""

    estimator = property(lambda self: self.inner)

    def __init__(self):
        super().__init__()
        self.inner = inf.MonteCarloKL()

    def forward(self, terms, step=None):
        return -terms.log_weight.mean()


def test_an_objective_that_leaves_the_global_sites_out_is_refused():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("mu", dist.Normal(pyro.param("m", torch.zeros(())), 0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("a", torch.ones(())) * x, 1.0))

    fit = {"epochs": 1, "progress": False, "device": "cpu"}
    pyro.clear_param_store()
    with pytest.raises(
        ModelError, match=r"site 'mu' is global, and LocalAlone leaves its divergence out of the loss"
    ):
        pv.fit((model, guide), torch.zeros(4), elbo=LocalAlone(), **fit)
    assert "train_global_kl" in pv.fit((model, guide), torch.zeros(4), elbo=inf.MonteCarloKL(), **fit).history


def test_held_out_data_have_a_posterior_predictive_density_with_the_error_that_they_share():
    p = parameters()
    model, guide = plain_pair(p)
    held_out = torch.tensor([0.2, -1.5, 2.2, 0.9], dtype=torch.float64)
    found = pv.log_evidence((model, guide), held_out, num_samples=4000)
    variance = sum((2 * p[name]).exp() for name in ("log_v", "log_t", "log_s"))
    exact = torch.distributions.Normal(p["m"], variance.sqrt()).log_prob(held_out)
    assert ((found.per_datum - exact).abs() < 4 * found.per_datum_stderr + 1e-3).all()
    assert "posterior predictive" in found.quantity
    means = torch.tensor(
        [pv.log_evidence((model, guide), held_out, num_samples=400, seed=s).mean for s in range(60)]
    )
    told = pv.log_evidence((model, guide), held_out, num_samples=400).stderr
    assert 0.7 < told / means.std().item() < 1.4


def test_phi_and_theta_are_all_parameters():
    assert set(parameters()) == {*THETA, *PHI}
