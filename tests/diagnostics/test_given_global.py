"""What is asked of each datum given draws of the global sites, held against the conjugate model of two levels.

Given mu the local latents are those of a linear Gaussian model of one datum, of which everything is known; over
q(mu) the numbers are averages of quadratic functions of mu, Gauss-Hermite sums.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import (
    resample_posterior,
    run_aggregate,
    run_calibration,
    run_collapse,
    run_disentanglement,
    run_evidence,
    run_gaps,
    run_typicality,
)
from ppl_vae.errors import ModelError
from tests.diagnostics.test_two_levels import narrowed
from tests.inference.pair.two_level_programs import TWO_LEVELS
from tests.inference.two_levels import X, hermite, parameters, plain_pair

N = 12
DATA = torch.linspace(-2, 2, N, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def over_mu(p, function):
    """E over q(mu) of function(mu [Q, 1])."""
    nodes, weights = hermite(24, 1)
    mu = (p["m"] + p["log_v"].exp() * nodes[:, 0]).unsqueeze(1)
    return (weights.unsqueeze(1) * function(mu)).sum(0)


def log_density_given(p, x, mu):
    """log p(x_n | mu)."""
    own = (2 * p["log_t"]).exp() + (2 * p["log_s"]).exp()
    return -0.5 * ((x - mu) ** 2 / own + own.log() + math.log(2 * math.pi))


def gap_given(p, x, mu):
    """KL(q(z | x_n, mu) || p(z | x_n, mu))."""
    t, s, w = ((2 * p[name]).exp() for name in ("log_t", "log_s", "log_w"))
    variance = t * s / (t + s)
    mean = (t * x + s * mu) / (t + s)
    off = (p["a"] * x + p["b"] * mu - mean) ** 2
    return 0.5 * (w / variance + off / variance - 1 + (variance / w).log())


def within(found, error, exact, floor=1e-3):
    assert (abs(torch.as_tensor(found) - exact) < 4.5 * torch.as_tensor(error) + floor).all()


@pytest.mark.slow
def test_gaps_are_those_of_the_local_guide_averaged_over_the_global_draws():
    p = parameters() | {"log_v": torch.tensor(-2.0, dtype=torch.float64)}
    numbers = run_gaps(plain_pair(p), DATA, num_samples=400, num_steps=900, num_global=4)
    exact = over_mu(p, lambda mu: gap_given(p, DATA, mu))
    within(numbers["amortisation_gap"].to_numpy(), numbers["amortisation_gap_stderr"].to_numpy(), exact, 0.02)
    # The family of Gaussians has the posterior given mu.
    assert abs(numbers["approximation_gap"]).max() < 0.01
    assert numbers.attrs["num_global"] == 4
    evidence = over_mu(p, lambda mu: log_density_given(p, DATA, mu))
    within(numbers["log_evidence"].to_numpy(), numbers["log_evidence_stderr"].to_numpy(), evidence)
    with pytest.raises(ModelError, match="site 'mu' is global: log_evidence would have to be"):
        run_gaps(plain_pair(p), DATA, num_steps=1, num_samples=2, log_evidence=torch.zeros(N))


@pytest.mark.slow
def test_active_units_and_the_kl_are_those_given_the_global_draws():
    p = parameters() | {"log_v": torch.tensor(-1.5, dtype=torch.float64)}
    numbers = run_collapse(plain_pair(p), DATA, num_samples=50, num_global=30)
    # E_q[z | x_n, mu] = a x_n + b mu: its variance over data is a^2 Var(x), whatever mu is.
    assert numbers["posterior_mean_variance"].item() == pytest.approx((p["a"] ** 2 * DATA.var()).item(), rel=1e-9)
    assert numbers["active_units"] == 1

    def kl(mu):
        ratio = (2 * (p["log_w"] - p["log_t"])).exp()
        off = (p["a"] * DATA + (p["b"] - 1) * mu) ** 2 / (2 * p["log_t"]).exp()
        return 0.5 * (ratio + off - 1 - ratio.log())

    exact = over_mu(p, kl).mean()
    within(numbers["kl"].to_numpy(), numbers["kl_stderr"].to_numpy(), exact)
    within(numbers["average_kl"].to_numpy(), numbers["average_kl_stderr"].to_numpy(), exact)
    assert float(numbers["average_kl"]) == pytest.approx(
        float(numbers["mutual_information"] + numbers["marginal_kl"])
    )


def vector_pair(p):
    """The same pair with z a vector of one coordinate, as the aggregate posterior wants it."""

    def model(x):
        mu = pyro.sample("mu", dist.Normal(torch.zeros_like(p["m"]), p["log_s0"].exp()))
        with pyro.plate("data", len(x)):
            loc = mu.unsqueeze(-1).expand(*mu.shape[:-1], len(x), 1) if mu.dim() else mu.expand(len(x), 1)
            z = pyro.sample("z", dist.Normal(loc, p["log_t"].exp()).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], p["log_s"].exp()), obs=x)

    def guide(x):
        mu = pyro.sample("mu", dist.Normal(p["m"], p["log_v"].exp()))
        with pyro.plate("data", len(x)):
            loc = (p["a"] * x + p["b"] * mu).unsqueeze(-1)
            pyro.sample("z", dist.Normal(loc, p["log_w"].exp()).to_event(1))

    return model, guide


@pytest.mark.slow
def test_the_aggregate_posterior_is_taken_apart_given_the_global_draws():
    p = parameters()
    numbers = run_aggregate(vector_pair(p), DATA, 200, num_global=20)
    whole = run_collapse(plain_pair(p), DATA, num_samples=200, num_global=20)
    assert abs(float(numbers["total_correlation"])) < 1e-9
    error = 2 * whole["mutual_information_stderr"].item()
    within(numbers["mutual_information"].item(), error, whole["mutual_information"].item())
    z = torch.linspace(-15, 15, 4001, dtype=torch.float64)
    means = p["a"] * DATA.unsqueeze(1) + p["b"] * p["m"]
    log_q = torch.distributions.Normal(means, p["log_w"].exp()).log_prob(z)
    mixture = log_q.logsumexp(0) - math.log(N)
    # I_q does not depend on mu, which moves all posteriors by as much.
    exact = ((log_q.exp() * (log_q - mixture)).sum(1) * (z[1] - z[0])).mean()
    assert abs(float(numbers["mutual_information"]) - exact) < 0.02


@pytest.mark.slow
def test_annealing_and_importance_agree_with_the_density_given_the_global_draws():
    p = parameters() | {"log_v": torch.tensor(-2.0, dtype=torch.float64)}
    numbers = run_evidence(plain_pair(p), DATA, num_annealed=N, num_chains=8, num_temperatures=60, num_global=8)
    exact = over_mu(p, lambda mu: log_density_given(p, DATA, mu))
    for method in ("importance", "annealed"):
        within(numbers[method].to_numpy(), numbers[f"{method}_stderr"].to_numpy(), exact, 0.02)
    # At the same draws of mu, so that their difference is free of these.
    assert abs(float((numbers["annealed"] - numbers["importance"]).mean())) < 0.03


@pytest.mark.slow
def test_annealing_tells_the_predictive_density_of_held_out_data():
    p = parameters()
    variance = sum((2 * p[name]).exp() for name in ("log_v", "log_t", "log_s"))
    exact = torch.distributions.Normal(p["m"], variance.sqrt()).log_prob(DATA)
    options = {"num_temperatures": 40, "num_leapfrog": 4, "num_global": 30}
    found = pv.log_evidence(plain_pair(p), DATA, "ais", 4, **options)
    within(found.per_datum, found.per_datum_stderr, exact, 0.02)
    assert abs(found.mean - exact.mean()) < 4 * found.stderr + 0.02
    assert "posterior predictive" in found.quantity


@pytest.mark.slow
def test_both_ends_of_a_bracket_hold_the_density_given_a_global_draw():
    p = narrowed(of_global=1e-8)
    bracket = inf.bidirectional_evidence(plain_pair(p), DATA, 8, num_temperatures=80)
    exact = log_density_given(p, bracket.x, p["m"])
    assert (bracket.lower - exact).mean() < 4 * bracket.lower_stderr.mean()
    assert abs((bracket.lower - exact).mean()) < 0.05
    assert abs((bracket.upper - exact).mean()) < 0.05


@pytest.mark.slow
def test_the_curve_of_bounds_rises_to_the_mean_density_given_the_draws():
    p = narrowed(of_global=0.5, of_local=0.5)
    curve = inf.evidence_curve(plain_pair(p), DATA, (1, 10, 1000), num_global=40)
    exact = over_mu(p, lambda mu: log_density_given(p, DATA, mu)).mean().item()
    found, error = curve["importance"].to_numpy(), curve["importance_stderr"].to_numpy()
    assert abs(found[-1] - exact) < 4 * error[-1] + 1e-3
    elbo = exact - over_mu(p, lambda mu: gap_given(p, DATA, mu)).mean().item()
    assert abs(found[0] - elbo) < 4 * error[0]
    assert found[0] < found[1] < found[2] + 1e-3


@pytest.mark.slow
def test_data_of_the_predictive_law_are_typical_and_others_are_not():
    p = narrowed(of_global=4.0)
    spread = (((2 * p["log_v"]).exp() + (2 * p["log_t"]).exp() + (2 * p["log_s"]).exp()) ** 0.5).item()
    quantiles = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    x = torch.distributions.Normal(p["m"], spread).icdf(quantiles)
    numbers = run_typicality(plain_pair(p), torch.cat([x, x[:1] + 8 * spread]), 400, 400)
    # The two-sided p-value of log p(x) at a quantile is known, since log p falls with |x - m|.
    tail = 2 * torch.minimum(quantiles, 1 - quantiles)
    exact = torch.minimum(torch.ones(10), 2 * torch.minimum(tail, 1 - tail))
    error = (tail * (1 - tail) / 200).sqrt() * 2
    within(numbers["p_evidence"].to_numpy()[:10], error, exact, 0.05)
    assert int(numbers["foreign"][-1]) == 1
    assert int(numbers["foreign"][:10].sum()) == 0


def test_codes_are_averages_over_the_global_draws():
    p = narrowed(of_global=0.1)
    factors = torch.stack([(DATA > 0).long(), torch.arange(N) % 2], 1)
    assert run_disentanglement(plain_pair(p), DATA, factors, metrics=["mig"]) is not None


@pytest.mark.parametrize(
    "ask", [lambda pair: pv.infer(pair, X, progress=False), lambda p: resample_posterior(p, X, 3)]
)
def test_draws_of_one_datum_by_itself_are_refused_with_the_reason(ask):
    with pytest.raises(ModelError, match="site 'mu' is global: its posterior, and with it that of every datum"):
        ask(plain_pair(parameters()))


def test_groups_that_are_others_in_every_run_cannot_be_held():
    """Their draws would be taken for those of other groups."""
    row = TWO_LEVELS["some of the groups"]
    for ask in (run_collapse, run_typicality, lambda pair, x: run_calibration(pair, x, 24, 9)):
        with pytest.raises(
            ModelError, match="site 'loading' stands in a plate that takes some of its groups alone"
        ):
            ask(row.make(), row.x)
        pyro.clear_param_store()


def test_a_pair_without_local_draws_given_the_global_ones_says_so_everywhere():
    row = TWO_LEVELS["local first"]
    asks = (run_collapse, run_aggregate, run_typicality, inf.bidirectional_evidence, inf.evidence_curve)
    for ask in (*asks, lambda pair, x: pv.log_evidence(pair, x, "ais"), lambda pair, x: run_gaps(pair, x)):
        with pytest.raises(ModelError, match="site 'mean' is global and drawn after the local 'z' in the guide"):
            ask(row.make(), row.x)
        pyro.clear_param_store()
