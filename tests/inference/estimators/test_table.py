"""Laws over the table of estimators: a new estimator adds a row to VALUES, and is covered."""

import copy
import math
import pickle

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from tests.inference.estimators.test_elbo import library_model
from tests.inference.estimators.test_thermodynamic import POINTS, self_normalised
from tests.inference.oracles import (
    assert_mean,
    elbo,
    expected_bound,
    log_evidence,
    log_mean_exp,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def one(log_weight):
    return log_weight[0]


# name -> options, and the draws and the bound that it is the mean of
VALUES = {
    "analytic-kl": ({}, 1, one),
    "monte-carlo-kl": ({}, 1, one),
    "entropy": ({}, 1, one),
    "sticking-the-landing": ({}, 1, one),
    "score-function": ({}, 1, one),
    "rloo": ({}, 1, one),
    "vimco": ({"num_particles": 2}, 2, log_mean_exp),
    "iwae": ({"num_particles": 2}, 2, log_mean_exp),
    "dreg": ({"num_particles": 2}, 2, log_mean_exp),
    "miwae": ({"num_particles": 2, "num_outer": 3}, 2, log_mean_exp),
    "ciwae": ({"num_particles": 2}, 2, lambda w: 0.5 * w.mean(0) + 0.5 * log_mean_exp(w)),
    "piwae": ({"num_particles": 1, "num_outer": 2}, 2, log_mean_exp),
    "renyi": ({"num_particles": 2}, 2, lambda w: 2 * log_mean_exp(w / 2)),
    "tvo": ({"num_particles": 2, "num_partitions": 3, "first_point": POINTS[1]}, 2, self_normalised),
    "wake-sleep": ({"num_particles": 2}, 2, log_mean_exp),
    "cubo": ({"num_particles": 2}, 2, lambda w: log_mean_exp(2 * w) / 2),
    "tail-adaptive": ({"num_particles": 2}, 2, log_mean_exp),
    "gdreg": ({"num_particles": 2}, 2, log_mean_exp),
}
CONTRACT = [
    "analytic-kl",
    "monte-carlo-kl",
    "entropy",
    "sticking-the-landing",
    "score-function",
    "rloo",
    "vimco",
    "iwae",
    "dreg",
    "miwae",
    "ciwae",
    "piwae",
    "renyi",
    "tvo",
    "wake-sleep",
    "cubo",
]
ESTIMATORS = pytest.mark.parametrize("name", inf.list_estimators())
SCORES = {"score-function", "rloo", "vimco", "tvo", "wake-sleep"}


def test_the_table_names_what_the_contract_names_and_every_row_is_tested():
    assert set(CONTRACT) <= set(inf.list_estimators())
    assert set(inf.list_estimators()) == set(VALUES)


@ESTIMATORS
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(2, 1), (20, 1), (5, 2)])
def test_the_value_on_a_random_linear_gaussian_vae_is_exact(name, data_dim, latent_dim):
    options, draws, bound = VALUES[name]
    p, x = workbench(10 + data_dim, data_dim, latent_dim)
    lg = library_model(p, x)
    exact = expected_bound(p, x, bound, draws)
    torch.manual_seed(0)
    with torch.no_grad():
        found = inf.get_elbo(name, **options).per_datum(lg.model, lg.guide, x.expand(20_000, data_dim))
    assert_mean(found, exact, magnitude=exact.abs())
    assert found.std() / math.sqrt(len(found)) < 0.01 * exact.abs()


@pytest.mark.parametrize("name", [name for name, row in VALUES.items() if row[1:] == (1, one)])
@pytest.mark.parametrize(
    ("data_dim", "latent_dim", "guide"), [(12, 4, "mean-field"), (20, 5, "mean-field"), (7, 3, "exact")]
)
def test_an_estimator_of_the_elbo_has_the_models_own_closed_form(name, data_dim, latent_dim, guide):
    p, x = workbench(data_dim, data_dim, latent_dim)
    lg = pv.LinearGaussianVAE(p["weight"], p["bias"], p["log_sigma"].exp(), guide=guide)
    with torch.no_grad():
        lg.guide.posterior.offset.add_(0.5 * lg.posterior(x[None]).stddev[0])
        found = inf.get_elbo(name).per_datum(lg.model, lg.guide, x.expand(20_000, data_dim))
        exact = lg.elbo(x[None])[0]
    assert exact < lg.log_evidence(x[None])[0]
    assert_mean(found, exact, magnitude=exact.abs())


@ESTIMATORS
def test_what_does_not_say_that_it_is_an_upper_bound_lies_below_the_evidence(name):
    _, draws, bound = VALUES[name]
    p, x = workbench(3, 4, 1)
    value = expected_bound(p, x, bound, draws)
    assert elbo(p, x) - 1e-9 <= value
    # An upper bound is the limit of many draws; the mean of its estimate from a few may be lower. What has no
    # target bounds nothing.
    estimator = inf.get_elbo(name)
    if estimator.target is not None and estimator.side != "upper":
        assert value < log_evidence(p, x)


@ESTIMATORS
def test_an_estimator_says_which_bound_is_its_target(name):
    """What is the ELBO in expectation says so, and nothing else does."""
    estimator = inf.get_elbo(name)
    if name in CONTRACT or estimator.target is not None:
        assert estimator.target == ("elbo" if VALUES[name][1:] == (1, one) else "evidence")
        assert estimator.side in ("lower", "upper", None)
        assert estimator.side == "lower" or estimator.target == "evidence"
    else:
        assert VALUES[name][1:] != (1, one)
        assert estimator.side is None


@ESTIMATORS
@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_the_weighted_value_is_the_formula_of_the_raw_densities(name, beta):
    p, x = workbench(4, 4, 2)
    lg = library_model(p, x)
    options, draws, bound = VALUES[name]
    estimator = inf.get_elbo(name, **options)
    torch.manual_seed(0)
    terms = inf.trace_terms(
        lg.model, lg.guide, x.expand(6, 4), num_particles=estimator.num_draws, gradient=estimator.gradient
    )
    raw = terms.log_likelihood + beta * (terms.log_prior - terms.log_guide)
    if name == "analytic-kl":
        raw = terms.log_likelihood - beta * terms.kl()
    elif name == "entropy":
        raw = terms.log_likelihood + beta * (terms.log_prior + terms.entropy)
    # Draws of one bound are neighbours: [M K, N] -> K x (M N).
    grouped = raw.unflatten(0, (-1, draws)).transpose(0, 1)
    wanted = bound(grouped).mean(0)
    torch.testing.assert_close(estimator.bound(terms.weighted(beta)), wanted, rtol=1e-10, atol=1e-10)
    loss = inf.Beta(estimator, beta).forward(terms)
    assert loss.item() == pytest.approx(-wanted.mean().item(), rel=1e-10)
    gradient = torch.autograd.grad(loss, list(lg.parameters()), materialize_grads=True, allow_unused=True)
    assert all(g.isfinite().all() for g in gradient)


@ESTIMATORS
def test_a_finite_loss_gives_every_parameter_a_finite_gradient(name):
    vae = pv.VAE((6,), 3, posterior="full-covariance" if name == "entropy" else "diagonal", seed=0)
    x = torch.bernoulli(torch.full((7, 6), 0.5))
    loss = inf.get_elbo(name)(vae.model, vae.guide)(x)
    loss.backward()
    assert loss.isfinite()
    for parameter_name, parameter in vae.named_parameters():
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@ESTIMATORS
def test_a_full_covariance_guide_goes_through(name):
    vae = pv.VAE((6,), 3, posterior="full-covariance", seed=0)
    loss = inf.get_elbo(name)(vae.model, vae.guide)(torch.ones(4, 6))
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in vae.parameters())


@ESTIMATORS
def test_one_seed_gives_one_result_and_another_seed_another(name):
    vae = pv.VAE((6,), 3, seed=0)
    estimator, x = inf.get_elbo(name), torch.ones(4, 6)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(estimator.per_datum(vae.model, vae.guide, x))
    assert values[0].shape == (4,)
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


@ESTIMATORS
def test_data_do_not_mix(name):
    # Per datum: the bound of one datum is the same whatever else is in the batch.
    p, x = workbench(5, 4, 2)
    lg = library_model(p, x)
    estimator = inf.get_elbo(name)
    bounds = []
    for second in (x, x + 5):
        torch.manual_seed(0)
        bounds.append(estimator.per_datum(lg.model, lg.guide, torch.stack([x, second])))
    torch.testing.assert_close(bounds[0][0], bounds[1][0])
    assert not torch.isclose(bounds[0][1], bounds[1][1])


@ESTIMATORS
def test_an_estimator_is_its_own_estimator_and_says_its_settings(name):
    estimator = inf.get_elbo(name, num_particles=3)
    assert estimator.estimator is estimator
    assert estimator.num_particles == 3
    assert "num_particles=3" in estimator.extra_repr()
    assert estimator.num_draws % 3 == 0
    assert (estimator.gradient == "score") == (name in SCORES)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ModelError, match="unknown estimator 'analytic_kl'; did you mean 'analytic-kl'"):
        inf.get_elbo("analytic_kl")


@ESTIMATORS
def test_an_unknown_option_is_refused_by_name(name):
    with pytest.raises(ModelError, match=f"estimator {name!r}: .*particels"):
        inf.get_elbo(name, particels=3)


def test_an_objective_takes_a_name_or_an_estimator_and_nothing_else():
    assert isinstance(inf.Beta("iwae", 2.0).estimator, inf.ImportanceWeighted)
    with pytest.raises(ModelError, match=r"elbo must be a name or an objective of ppl_vae.inference, got int"):
        inf.Beta(3, 2.0)


@pytest.mark.parametrize("name", inf.list_estimators())
def test_an_estimator_can_be_pickled_and_copied(name):
    estimator = inf.get_elbo(name)
    for twin in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert repr(twin) == repr(estimator)
        assert twin.num_draws == estimator.num_draws


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (inf.Thermodynamic(5, 3, 0.1), inf.Thermodynamic(5, 3, 0.5)),
        (inf.ScoreFunction(2, "running", 0.9), inf.ScoreFunction(2, "running", 0.5)),
        (inf.GumbelSoftmax(1), inf.GumbelSoftmax(10)),
        (inf.Renyi(4, 0.5), inf.Renyi(4, 0.2)),
        (inf.CUBO(4, 2.0), inf.CUBO(4, 1.0)),
        (inf.CIWAE(4, 0.5), inf.CIWAE(4, 0.2)),
    ],
)
def test_every_option_is_told_so_that_no_other_run_is_resumed(one, other):
    assert repr(one) != repr(other)


def test_evaluating_a_loss_leaves_the_running_baseline():
    vae, estimator = pv.VAE((3,), 2, likelihood="gaussian"), inf.ScoreFunction(2, baseline="running")
    x = torch.randn(5, 3)
    estimator.loss_and_grads(vae.model, vae.guide, x)
    before = estimator.average.clone()
    estimator.loss(vae.model, vae.guide, x)
    assert torch.equal(estimator.average, before)
    estimator.loss_and_grads(vae.model, vae.guide, x)
    assert not torch.equal(estimator.average, before)


def test_data_of_other_types_are_taken_as_the_models_own():
    vae = pv.VAE((3,), 2, likelihood="bernoulli")
    x = torch.randint(0, 2, (4, 3))
    for given in (x, x.double(), x.bool(), x.numpy()):
        assert inf.AnalyticKL().per_datum(vae.model, vae.guide, given).shape == (4,)
        assert inf.trace_terms(vae.model, vae.guide, given).log_weight.shape == (1, 4)
    with pytest.raises(DataError, match="data are empty"):
        inf.AnalyticKL().per_datum(vae.model, vae.guide, x[:0])


def test_a_relaxation_needs_something_to_relax():
    vae = pv.VAE((3,), 2, likelihood="gaussian")
    with pytest.raises(ModelError, match="gumbel-softmax needs a OneHotCategorical site"):
        inf.GumbelSoftmax().per_datum(vae.model, vae.guide, torch.randn(4, 3))
