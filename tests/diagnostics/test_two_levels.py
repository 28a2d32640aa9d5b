"""Diagnostics of pairs with global sites, held against the conjugate model of two levels.

With q(z_n | x_n, g) exact the weights of the global guide are those of q(mu) against p(mu | x) alone, whose tail
index is 1 - v^2 / Var(mu | x) where q is the narrower one, and the evidence of the set is a Gaussian density.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import (
    check_calibration,
    check_global_importance,
    check_importance,
    check_reference,
    run_calibration,
    run_global_importance,
    run_importance,
    run_reference,
    simulate_refits,
)
from ppl_vae.diagnostics.arviz.container import quiet_import, rhat
from ppl_vae.errors import ModelError
from ppl_vae.inference.chains.whole_latents import WholeLatents
from tests.diagnostics.small_effort import SMALL
from tests.inference.pair.two_level_programs import SCHOOLS, TWO_LEVELS, schools_not_centred
from tests.inference.two_levels import X, log_evidence_of_the_set, log_normal, parameters, plain_pair

pytestmark = [pytest.mark.usefixtures("_no_parameters_left")]


@pytest.fixture
def _no_parameters_left():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def posterior(p):
    """Mean and variance of p(mu | x), and a, b, log w of the exact local guide."""
    own = (2 * p["log_t"]).exp() + (2 * p["log_s"]).exp()
    variance = 1 / ((-2 * p["log_s0"]).exp() + len(X) / own)
    t, s = (2 * p["log_t"]).exp(), (2 * p["log_s"]).exp()
    local = {"a": t / (s + t), "b": s / (s + t), "log_w": 0.5 * torch.log(t * s / (s + t))}
    return variance * X.sum() / own, variance, local


def narrowed(of_global=1.0, of_local=1.0):
    """The exact guides with so much of the posterior's variance."""
    p = parameters()
    mean, variance, local = posterior(p)
    local["log_w"] = local["log_w"] + 0.5 * torch.tensor(of_local, dtype=torch.float64).log()
    return {**p, **local, "m": mean, "log_v": 0.5 * (of_global * variance).log()}


# The weights of the global guide -----------------------------------------------------------------------------


def test_the_exact_guide_has_constant_weights_and_the_evidence_of_the_set():
    p = narrowed()
    numbers = run_global_importance(plain_pair(p), X, 100, 3)
    assert bool(numbers["exact"])
    assert float(numbers["log_evidence"]) == pytest.approx(log_evidence_of_the_set(p, X).item(), abs=1e-10)
    assert check_global_importance(numbers).level == "good"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.7, 0.5])
def test_khat_of_the_global_guide_is_the_tail_index_of_its_weights(share):
    p = narrowed(of_global=share)
    tables = [run_global_importance(plain_pair(p), X, 4000, 2, seed=seed) for seed in range(6)]
    found = torch.tensor([float(table["khat"]) for table in tables])
    assert abs(found.mean() - (1 - share)) < 0.1 + 4 * found.std() / len(found) ** 0.5
    log_evidence = log_evidence_of_the_set(p, X).item()
    for table in tables:
        assert abs(float(table["log_evidence"]) - log_evidence) < 5 * float(table["log_evidence_stderr"])


@pytest.mark.slow
def test_the_noise_of_local_draws_is_told_and_goes_down_as_one_over_k():
    p = narrowed(of_local=0.6)
    few, many = (float(run_global_importance(plain_pair(p), X, 400, k)["local_noise"]) for k in (20, 320))
    assert 3 < few / many < 5.5


@pytest.mark.slow
@pytest.mark.parametrize("draws", [6, 40])
def test_weights_do_not_depend_on_the_memory_limit(draws):
    p = narrowed(of_global=0.8, of_local=0.8)
    whole = run_global_importance(plain_pair(p), X, 60, draws)["log_weight"]
    for limit in (3 * 96 * 4, 3 * 96 * 25, 3 * 96 * 700):
        parts = run_global_importance(plain_pair(p), X, 60, draws, memory_limit=limit)["log_weight"]
        torch.testing.assert_close(torch.from_numpy(parts.to_numpy()), torch.from_numpy(whole.to_numpy()))
    more = run_global_importance(plain_pair(p), X, 80, draws)["log_weight"]
    torch.testing.assert_close(torch.from_numpy(more.to_numpy()[:60]), torch.from_numpy(whole.to_numpy()))


@pytest.mark.slow
def test_draws_that_are_no_gaussians_estimate_the_same_in_other_passes():
    row = TWO_LEVELS["a mixture of groups"]
    pair = row.make()
    whole = run_global_importance(pair, row.x, 200, 6)
    parts = run_global_importance(pair, row.x, 200, 6, memory_limit=12 * 96 * 4)
    error = (whole["log_evidence_stderr"] ** 2 + parts["log_evidence_stderr"] ** 2) ** 0.5
    assert abs(whole["log_evidence"] - parts["log_evidence"]) < 4 * error
    assert float(parts["local_noise"]) == pytest.approx(float(whole["local_noise"]), rel=0.3)


@pytest.mark.parametrize("name", ["local first", "AutoMultivariateNormal, everything"])
def test_a_guide_without_local_draws_given_the_global_ones_is_weighed_as_a_whole(name):
    row = TWO_LEVELS[name]
    numbers = run_global_importance(row.make(), row.x, 60, 5)
    assert numbers.attrs["weights"] == "joint"
    assert "stands for all sites" in check_global_importance(numbers).words


def test_what_has_no_weights_of_global_sites_says_why():
    row = TWO_LEVELS["AutoDelta beside an encoder"]
    with pytest.raises(ModelError, match="site 'mean': the guide has one value only"):
        run_global_importance(row.make(), row.x, 60, 5)
    row = TWO_LEVELS["some of the groups"]
    with pytest.raises(ModelError, match="site 'loading' stands in a plate that takes some of its groups alone"):
        run_global_importance(row.make(), row.x, 60, 5)
    vae = pv.VAE((2,), 1, likelihood="gaussian")
    with pytest.raises(ModelError, match="no global sites: run_importance"):
        run_global_importance(vae, torch.zeros(3, 2), 60, 5)


# The local guide given global draws --------------------------------------------------------------------------


@pytest.mark.slow
def test_local_khat_is_that_of_the_local_guide_given_the_global_draw():
    numbers = run_importance(plain_pair(narrowed(of_global=0.1, of_local=0.5)), X, 4000)
    assert numbers["khat_given"].dims == ("global_draw", "datum")
    assert abs(float(numbers["khat_given"].mean()) - 0.5) < 0.1
    exact = run_importance(plain_pair(narrowed(of_global=0.1)), X, 400)
    assert exact["exact"].all()
    assert check_importance(exact).level == "good"


@pytest.mark.slow
def test_calibration_given_the_global_draw_needs_no_refit():
    right = run_calibration(plain_pair(narrowed(of_global=0.1)), X, 600, 49)
    assert check_calibration(right).level == "good"
    narrow = run_calibration(plain_pair(narrowed(of_local=0.4)), X, 600, 49)
    assert check_calibration(narrow).level == "bad"
    assert "too narrow" in check_calibration(narrow).words


def test_pairs_all_of_whose_latents_are_global_are_sent_elsewhere():
    row = TWO_LEVELS["PyroSample"]
    for ask in (lambda pair: run_importance(pair, row.x, 50), lambda pair: run_calibration(pair, row.x, 20, 9)):
        with pytest.raises(ModelError, match="is global, as all latents are: no datum has latents of its own"):
            ask(row.make())


# Calibration of the global guide ---------------------------------------------------------------------------


def normal_mean(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def fresh():
    guide = autoguide.AutoNormal(normal_mean, init_scale=0.3)
    guide(torch.zeros(8))
    return normal_mean, guide


@pytest.mark.slow
def test_refits_to_simulated_data_calibrate_the_global_guide():
    options = {"elbo": "monte-carlo-kl", "lr": 0.05, "device": "cpu", "compile": False}
    fitted = simulate_refits(fresh, torch.zeros(8), 60, 49, options={"epochs": 60, **options})
    assert fitted.values["mu"].shape == (50, 60)
    assert check_calibration(run_calibration(fitted)).value > 0.01
    # The posterior is N(sum x / 9, 1 / 9), whatever was simulated.
    exact = fitted.x.sum(1) / 9
    assert (fitted.values["mu"][1:].mean(0) - exact).abs().mean() < 0.15
    stopped = simulate_refits(fresh, torch.zeros(8), 40, 49, options={"epochs": 1, **options, "lr": 1e-6})
    assert check_calibration(run_calibration(stopped)).level == "bad"
    assert not dict(pyro.get_param_store())


def param_guide():
    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        pyro.sample(
            "mu", dist.Normal(loc, pyro.param("scale", torch.tensor(0.3), constraint=dist.constraints.positive))
        )

    return normal_mean, guide


@pytest.mark.parametrize("make", [fresh, param_guide])
def test_refits_taken_together_are_those_made_one_by_one(make):
    options = {"elbo": "monte-carlo-kl", "lr": 0.05, "device": "cpu", "compile": False, "epochs": 3}
    found = simulate_refits(make, torch.zeros(8), 3, 9, options=options)
    # With callbacks, of which several fits have no place, they are made one by one.
    rows = []
    single = simulate_refits(make, torch.zeros(8), 3, 9, options={**options, "callbacks": [rows.append]})
    assert len(rows) == 9
    torch.testing.assert_close(found.values["mu"], single.values["mu"], rtol=1e-5, atol=1e-6)
    assert not dict(pyro.get_param_store())


def test_programs_whose_steps_cannot_be_taken_as_one_are_refitted_one_by_one():
    guides = []

    def apart():
        noise = 1.0 + 0.5 * len(guides)

        def model(x):
            mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(mu, noise), obs=x)

        guides.append(autoguide.AutoNormal(model, init_scale=0.3))
        return model, guides[-1]

    options = {"elbo": "monte-carlo-kl", "lr": 0.05, "device": "cpu", "compile": False, "epochs": 3}
    found = simulate_refits(apart, torch.zeros(8), 2, 9, options=options)
    assert found.values["mu"].shape == (10, 2)
    assert all(guide.scales.mu.item() != pytest.approx(0.3) for guide in guides)


def test_a_guide_that_comes_twice_is_no_new_one():
    pair = fresh()
    with pytest.raises(ModelError, match="make_pair gave one guide twice"):
        simulate_refits(lambda: pair, torch.zeros(8), 2, 9)


def test_what_a_refit_would_move_in_the_model_is_named():
    def model(x):
        scale = pyro.param("noise", torch.tensor(1.0))
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu, scale), obs=x)

    guide = lambda x: pyro.sample("mu", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 0.3))  # noqa: E731
    with pytest.raises(ModelError, match="param 'noise' of the model would be fitted"):
        simulate_refits(lambda: (model, guide), torch.zeros(8), 2, 9)


# Chains over everything ---------------------------------------------------------------------------------------


def test_the_joint_of_the_whole_set_is_that_of_the_programs_written_out():
    p = parameters()
    latents = WholeLatents(plain_pair(p)[0], X)
    u = torch.randn(5, 1, latents.dim, dtype=torch.float64)
    mu, z = u[:, 0, :1], u[:, 0, 1:]
    exact = log_normal(mu, torch.zeros(()), p["log_s0"]).sum(1) + (
        log_normal(z, mu, p["log_t"]) + log_normal(X, z, p["log_s"])
    ).sum(1)
    torch.testing.assert_close(latents.log_density(u).squeeze(1), exact, rtol=1e-12, atol=1e-12)
    assert latents.whole == {"mu"}


@pytest.mark.slow
def test_reference_draws_over_all_sites_have_the_exact_posteriors_moments():
    p = narrowed(of_global=0.25)
    mean, variance, local = posterior(p)
    numbers = run_reference(plain_pair(p), X, num_samples=300, num_warmup=60, num_chains=8)
    mu, z = numbers["mu"].to_numpy().ravel(), numbers["z"].to_numpy().reshape(len(X), -1)
    worth = float(numbers["global_ess"])
    assert abs(mu.mean() - mean) < 4 * (variance / worth) ** 0.5
    assert abs(mu.var() / variance - 1) < 5 * (2 / worth) ** 0.5
    exact = local["a"] * X + local["b"] * mean
    spread = (2 * local["log_w"]).exp() + local["b"] ** 2 * variance
    assert (abs(torch.from_numpy(z.mean(1)) - exact) < 5 * (spread / float(numbers["ess"].min())) ** 0.5).all()
    assert check_reference(numbers).diagnostic == "C2ST of global sites against HMC"
    # Two Gaussians of one mean, one with half the other's standard deviation, are told apart in 66% at best.
    assert 0.58 < float(numbers["global_c2st"]) < 0.7
    assert float(numbers["c2st"].mean()) < float(numbers["global_c2st"])
    labels = [axes.get_xlabel() for axes in pv.plots.plot_reference(numbers).axes]
    assert labels == ["mu"]


def schools_by_quadrature():
    """Means and standard deviations of mu and tau, theta integrated out in closed form."""
    y, sigma = SCHOOLS.double().T
    mu = torch.linspace(-25, 35, 601, dtype=torch.float64)
    log_tau = torch.linspace(-14, 7, 1401, dtype=torch.float64)
    tau = log_tau.exp()
    log_density = torch.zeros(len(mu), len(tau), dtype=torch.float64)
    for value, error in zip(y, sigma, strict=True):
        log_density += dist.Normal(mu[:, None], (tau**2 + error**2).sqrt()).log_prob(value)
    log_density += dist.Normal(0.0, 5.0).log_prob(mu)[:, None] + dist.HalfCauchy(5.0).log_prob(tau) + log_tau
    weight = log_density.flatten().softmax(0).view(log_density.shape)
    found = {}
    for name, values, marginal in (("mu", mu, weight.sum(1)), ("tau", tau, weight.sum(0))):
        mean = (values * marginal).sum()
        found[name] = mean.item(), ((values - mean).square() * marginal).sum().sqrt().item()
    return found


@pytest.mark.slow
def test_eight_schools_have_the_moments_of_quadrature_as_arvizs_draws_have_that_converged():
    """Quadrature: mu 4.397 +- 3.318, tau 3.598 +- 3.220.

    ArviZ's centred draws (tau 4.12 +- .26) have not converged: R-hat 1.06, 67 effective draws, 48 divergences. Its
    draws of the same model, not centred, have (tau 3.72 +- .08).
    """
    stats = quiet_import("arviz")
    shipped = stats.load_arviz_data("non_centered_eight").posterior
    guide = autoguide.AutoNormal(schools_not_centred, init_scale=0.3)
    guide(SCHOOLS)
    numbers = run_reference((schools_not_centred, guide), SCHOOLS, num_samples=1000, num_warmup=300, num_chains=8)
    assert rhat(numbers["tau"].to_numpy()[..., None]).max() < 1.02
    for name, (mean, sd) in schools_by_quadrature().items():
        ours = numbers[name]
        error = float(stats.mcse(ours.to_dataset(name="v"))["v"])
        assert abs(float(ours.mean()) - mean) < 4 * error
        assert abs(float(ours.std()) / sd - 1) < 0.1
        theirs = shipped[name]
        assert abs(float(theirs.mean()) - mean) < 4 * float(stats.mcse(shipped)[name])
        both = (error**2 + float(stats.mcse(shipped)[name]) ** 2) ** 0.5
        assert abs(float(ours.mean()) - float(theirs.mean())) < 4 * both
    unconverged = stats.load_arviz_data("centered_eight").posterior
    assert float(stats.rhat(unconverged)["tau"]) > 1.05
    theta = numbers["mu"] + numbers["tau"] * numbers["eta"]
    apart = theta.mean(("chain", "draw")).to_numpy() - shipped["theta"].mean(("chain", "draw")).to_numpy()
    assert (abs(apart) < 0.15 * shipped["theta"].std(("chain", "draw")).to_numpy()).all()


# One object, one diagnosis -----------------------------------------------------------------------------------


def test_global_sites_have_dimensions_of_their_own_in_arviz():
    row = TWO_LEVELS["groups"]
    data = pv.inference_data(row.make(), row.x, 30, num_predictive=7)
    assert data.posterior["spread"].dims == ("chain", "draw")
    assert data.posterior["shift"].dims == ("chain", "draw", "groups")
    assert data.posterior["z"].dims == ("chain", "draw", "datum")
    assert data.prior["shift"].shape == (1, 7, 3)
    assert data.sample_stats["log_weight"].dims == ("chain", "draw")
    pyro.clear_param_store()
    row = TWO_LEVELS["time inside a datum"]
    data = pv.inference_data(row.make(), row.x, 20, num_predictive=4)
    assert data.posterior["noise"].dims == ("chain", "draw", "datum", "time")
    torch.testing.assert_close(torch.from_numpy(data.observed_data["x"].to_numpy()), row.x)


def test_the_weights_in_arviz_are_those_of_all_latents_together():
    p = narrowed()
    data = pv.inference_data(plain_pair(p), X, 40, num_predictive=4)
    expected = torch.full((1, 40), log_evidence_of_the_set(p, X).item(), dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(data.sample_stats["log_weight"].to_numpy()), expected)


@pytest.mark.slow
def test_a_diagnosis_tells_both_levels():
    p = narrowed(of_global=0.9)
    diagnosis = pv.diagnose(plain_pair(p), X.repeat(4), effort=SMALL)
    said = {verdict.diagnostic for verdict in diagnosis.verdicts}
    assert {"Pareto k-hat", "Pareto k-hat of global sites", "C2ST of global sites against HMC"} <= said
    assert diagnosis.inference_data is not None, diagnosis.why_no_inference_data
    one_level = pv.diagnose(pv.VAE((2,), 1, likelihood="gaussian"), torch.randn(8, 2), effort=SMALL, topics=None)
    assert "global_importance" not in one_level.findings


def test_simulated_data_are_put_back_where_they_were_observed():
    model, _ = TWO_LEVELS["groups"].make()
    x = TWO_LEVELS["groups"].x
    drawn = inf.simulate(model, x)
    assert (drawn.x[:, 1] == x[:, 1]).all()
    assert (drawn.x[:, 0] != x[:, 0]).all()
    assert drawn.values["shift"].shape == (3,)
    given = inf.simulate(model, x, values={"shift": torch.tensor([-100.0, 0.0, 100.0])})
    assert (given.x[:, 0].round(decimals=-2) == 100 * (x[:, 1] - 1)).all()
