"""The comparison on models whose every number is known, and on pairs of users."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.laboratory import repeats as repeats_module
from tests.inference.comparisons import ELBO_NAMES, CategoricalPair, compare, off_optimum, parameters_apart
from tests.inference.pair.test_user_pairs import PyroGuide, conjugate_data, conjugate_model, store_guide

REPEATS = 20_000


@pytest.fixture(scope="module")
def measured():
    lg, x = off_optimum()
    table = compare(lg, x, ELBO_NAMES, num_repeats=REPEATS, parameters=parameters_apart(lg))
    return lg, x, table


def workbench(lg, x):
    """A, M [L, L], S [L] and h, mu [N, L] of KNOWLEDGE 0."""
    with torch.no_grad():
        a = lg.weight.mT @ lg.weight / lg.sigma**2
        h = (x - lg.bias) @ lg.weight / lg.sigma**2
        q = lg.encode(x)
        return a, a + torch.eye(len(a), dtype=a.dtype), q.variance[0], h, q.mean


@pytest.mark.slow
def test_means_are_those_of_the_exact_elbo(measured):
    lg, x, table = measured
    exact = lg.elbo(x).mean().item()
    assert table.attrs["elbo"] == exact
    assert table.attrs["elbo_reference"] == table.attrs["evidence_reference"] == "closed form"
    assert table.attrs["evidence"] == lg.log_evidence(x).mean().item()
    assert (abs(table["value"] - exact) < 4 * table["value_stderr"]).all()
    assert (abs(table["bias_elbo"]) < 4 * table["bias_elbo_stderr"]).all()
    gap = exact - table.attrs["evidence"]
    np.testing.assert_allclose(table["bias_evidence"] - table["bias_elbo"], gap, rtol=1e-9)
    assert table["of_elbo"].all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["analytic-kl", "monte-carlo-kl", "entropy"])
def test_variances_of_the_values_are_the_closed_ones(measured, name):
    lg, x, table = measured
    a, m, s2, h, mu = workbench(lg, x)
    matrix = a if name == "analytic-kl" else m
    v = h - mu @ matrix
    q = s2.sqrt()[:, None] * matrix * s2.sqrt() - (torch.eye(len(a)) if name == "monte-carlo-kl" else 0)
    exact = ((v.square() * s2).sum(1) + 0.5 * q.square().sum()).mean().item()
    found = table["value_variance"].sel(estimator=name).item()
    assert found == pytest.approx(exact, rel=15 * math.sqrt(2 / REPEATS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["analytic-kl", "monte-carlo-kl", "sticking-the-landing"])
def test_variances_of_the_gradients_are_the_closed_ones(measured, name):
    lg, x, table = measured
    a, m, s2, h, mu = workbench(lg, x)
    b = {"analytic-kl": a, "monte-carlo-kl": m, "sticking-the-landing": m - torch.diag(1 / s2)}[name]
    c = h - mu @ (a if name == "analytic-kl" else m)
    n = len(x)
    trace = (b.square() * s2).sum()
    off = (b.square() * s2).sum(1) - b.diagonal().square() * s2
    scale = s2 * (c.square() + 2 * b.diagonal().square() * s2 + off)
    exact = {
        "offset": trace / n, "gain": trace * x.square().sum() / n**2, "log_scale": scale.sum() / n**2
    }  # fmt: skip
    for group, value in exact.items():
        tolerance = (15 if group == "log_scale" else 5) * math.sqrt(2 / REPEATS)
        found = table["gradient_variance"].sel(estimator=name, group=group).item()
        assert found == pytest.approx(value.item(), rel=tolerance), group


def test_gradients_point_along_the_exact_one(measured):
    lg, x, table = measured
    named = parameters_apart(lg)
    gradient = torch.autograd.grad(lg.elbo(x).mean(), [p for (p,) in named.values()])
    reparameterised = table.drop_sel(estimator=["score-function", "rloo"])
    assert (reparameterised["cosine"] > 0.99).all()
    for group, exact in zip(named, gradient, strict=True):
        norm = table["gradient_norm"].sel(estimator="analytic-kl", group=group).item()
        variance = table["gradient_variance"].sel(estimator="analytic-kl", group=group).item()
        assert norm == pytest.approx(exact.norm().item(), abs=5 * math.sqrt(variance / REPEATS))
        snr = table["snr"].sel(estimator="analytic-kl", group=group).item()
        assert snr == pytest.approx(norm / math.sqrt(variance), rel=1e-9)


def test_noise_is_paired(measured):
    _, _, table = measured
    draws = {name: table["draw"].sel(estimator=name).to_numpy() for name in ELBO_NAMES}
    for twin in ("sticking-the-landing", "score-function"):
        np.testing.assert_allclose(draws[twin], draws["monte-carlo-kl"], rtol=1e-12)
    same = table["gradient_variance"].sel(estimator=["monte-carlo-kl", "entropy"])
    np.testing.assert_allclose(same[0], same[1], rtol=1e-9)
    assert not np.allclose(draws["analytic-kl"], draws["monte-carlo-kl"])


def test_costs_are_variances_times_milliseconds(measured):
    _, _, table = measured
    np.testing.assert_allclose(table["cost"], table["gradient_variance"] * table["milliseconds"])
    assert (table["milliseconds"] > 0).all()
    assert (table["milliseconds_stderr"] >= 0).all()


@pytest.mark.slow
def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    lg, x = off_optimum("exact")
    table = compare(lg, x, ["sticking-the-landing", "monte-carlo-kl", "dreg"])
    variance = table["gradient_variance"].sel(group="encoder body")
    assert variance.sel(estimator="sticking-the-landing") < 1e-20
    assert variance.sel(estimator="dreg") < 1e-20
    assert variance.sel(estimator="monte-carlo-kl") > 1e-3
    assert (table["value_variance"] < 1e-20).all()
    np.testing.assert_allclose(table["bias_evidence"], 0, atol=1e-10)


@pytest.mark.slow
def test_many_draws_are_biased_as_they_should_be():
    lg, x = off_optimum()
    table = compare(lg, x, ["iwae", "cubo"], num_particles=64, num_repeats=500)
    assert (table["num_draws"] == 64).all()
    assert not table["of_elbo"].any()
    assert (table["bias_elbo"] > 10 * table["bias_elbo_stderr"]).all()
    iwae, cubo = table["bias_evidence"].to_numpy()
    assert iwae < 0 < cubo


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["mean-field", "exact"])
def test_one_after_the_other_gives_the_same_numbers(guide, monkeypatch):
    lg, x = off_optimum(guide)
    names = [name for name in inf.list_estimators() if name not in ("miwae", "piwae")]
    together = compare(lg, x, names, num_repeats=20)
    monkeypatch.setattr(repeats_module, "_trusted_shapes", lambda *_: None)
    apart = compare(lg, x, names, num_repeats=20)
    assert together["vectorised"].all()
    assert not apart["vectorised"].any()
    for name in ("draw", "gradient_variance", "gradient_norm", "cosine"):
        np.testing.assert_allclose(together[name], apart[name], rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_the_size_of_a_chunk_changes_nothing(monkeypatch):
    lg, x = off_optimum()
    whole = compare(lg, x, ["analytic-kl", "dreg"], num_repeats=37)
    sizes, draw = [], repeats_module._draw_noise
    monkeypatch.setattr(repeats_module, "_draw_noise", lambda *a: sizes.append(a[2]) or draw(*a))
    limit = 8 * (12 * x.numel() * 5 + 3 * sum(p.numel() for p in lg.parameters()))
    for memory, largest in ((4 * limit, 15), (limit, 4), (1, 1)):
        sizes.clear()
        chunked = compare(lg, x, ["analytic-kl", "dreg"], num_repeats=37, memory_limit=memory)
        for name in ("draw", "gradient_variance", "cosine"):
            np.testing.assert_allclose(chunked[name], whole[name], rtol=1e-10, err_msg=name)
        assert 1 <= max(sizes) <= largest


@pytest.mark.slow
def test_a_seed_gives_the_same_numbers_and_another_others():
    lg, x = off_optimum()
    first, again, other = (compare(lg, x, ["monte-carlo-kl", "rloo"], seed=seed) for seed in (3, 3, 4))
    for name in ("draw", "gradient_variance", "snr"):
        assert (first[name] == again[name]).all()
        assert (first[name] != other[name]).all()


@pytest.mark.slow
def test_globals_stay_as_they_were():
    lg, x = off_optimum()
    before, weights = torch.get_rng_state(), [p.clone() for p in lg.parameters()]
    compare(lg, x, num_repeats=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not pyro.get_param_store().keys()
    assert all(p.grad is None for p in lg.parameters())
    assert all(torch.equal(p, w) for p, w in zip(lg.parameters(), weights, strict=True))


@pytest.mark.slow
def test_all_estimators_by_default():
    lg, x = off_optimum()
    table = compare(lg, x, num_repeats=2)
    assert list(table["estimator"].to_numpy()) == inf.list_estimators()
    assert table.attrs["skipped"] == ""
    assert list(table["group"].to_numpy()) == ["encoder body", "decoder"]
    assert list(table["of_guide"].to_numpy()) == [True, False]


@pytest.mark.slow
def test_a_pair_with_parameters_in_the_store_goes_one_by_one():
    x = conjugate_data(5)
    table = compare((conjugate_model, store_guide), x, ["analytic-kl", "monte-carlo-kl"], num_repeats=30)
    assert not table["vectorised"].any()
    assert list(table["group"].to_numpy()) == ["store"]
    assert (table["gradient_variance"] > 0).all()
    assert set(pyro.get_param_store().keys()) == {"slope", "intercept", "scale"}


@pytest.mark.slow
def test_constrained_pyro_params_get_their_gradient():
    """Under functional_call they keep their own values, so that a vectorised gradient would be silently zero."""
    x, guide = conjugate_data(5), PyroGuide()
    groups = {"scale": [guide.scale_unconstrained]}
    table = compare((conjugate_model, guide), x, ["analytic-kl"], num_repeats=200, parameters=groups)
    mean, scale = guide.linear(x[:, None]).squeeze(-1), guide.scale
    elbo = (-0.5 * ((x - mean) ** 2 + scale**2) - 0.5 * ((mean - 1) ** 2 + scale**2) / 4 + scale.log()).mean()
    (exact,) = torch.autograd.grad(elbo, guide.scale_unconstrained)
    error = math.sqrt(table["gradient_variance"].item() / 200)
    assert table["gradient_norm"].item() == pytest.approx(abs(exact.item()), abs=4 * error)


class Shared(nn.Module):
    """Both programs are methods of one module, and both read one of its parameters."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc.expand(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc.expand(len(x)), 0.5))


def test_a_module_that_is_model_and_guide_at_once_keeps_its_parameters():
    pair, x = Shared(), conjugate_data(4)
    before = pair.loc
    table = compare(pair, x, ["analytic-kl", "monte-carlo-kl"], num_repeats=100)
    assert table["vectorised"].all()
    assert pair.loc is before
    # The ELBO's derivative by the shared location is the mean of x - loc: the KL does not depend on it.
    exact = (x - pair.loc).mean().item()
    assert (abs(table["gradient_norm"] - abs(exact)) < 4 * (table["gradient_variance"] / 100) ** 0.5).all()


class Branching(nn.Module):
    """A pair that looks at the value of a draw, which vmap cannot."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z if float(z.detach().sum()) > 0 else -z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc.expand(len(x)), 1.0))


@pytest.mark.slow
def test_a_pair_that_branches_on_values_goes_one_by_one():
    table = compare(Branching(), conjugate_data(4), ["monte-carlo-kl"], num_repeats=20)
    assert not table["vectorised"].any()
    assert (table["gradient_variance"] > 0).all()


@pytest.mark.slow
def test_a_discrete_pair_leaves_out_what_it_does_not_allow():
    pair, x = CategoricalPair(), torch.randn(5, 2, dtype=torch.float64)
    table = compare(pair, x, num_repeats=40)
    names = set(table["estimator"].to_numpy())
    assert {"score-function", "rloo", "vimco"} <= names
    assert not {"monte-carlo-kl", "iwae", "sticking-the-landing"} & names
    assert "iwae: site 'label'" in table.attrs["skipped"]
    assert "RLOO" in table.attrs["elbo_reference"]
    exact = pair.exact_elbo(x).mean().item()
    assert abs(table.attrs["elbo"] - exact) < 4 * table.attrs["elbo_stderr"]
    with pytest.raises(ModelError, match="site 'label'"):
        compare(pair, x, ["iwae"])


@pytest.mark.slow
def test_enumeration_stands_beside_the_score_function():
    pair, x = CategoricalPair(), torch.randn(5, 2, dtype=torch.float64)
    table = compare(pair, x, [inf.Enumeration(4), "rloo"], num_repeats=50)
    exact = pair.exact_elbo(x).mean().item()
    assert table["value"][0] == pytest.approx(exact, rel=1e-12)
    assert (table["gradient_variance"][0] < 1e-25).all()
    assert not table["vectorised"].any()


@pytest.mark.slow
def test_a_running_baseline_lowers_the_variance_and_leaves_the_users_alone():
    lg, x = off_optimum()
    running = inf.ScoreFunction(baseline="running")
    table = compare(lg, x, ["score-function", running], num_repeats=300)
    plain, with_baseline = table["gradient_variance"].sel(group="encoder body").to_numpy()
    assert with_baseline < plain
    assert running.weight == 0


@pytest.mark.slow
def test_values_are_paired_between_estimators_with_as_many_draws():
    lg, x = off_optimum()
    table = compare(lg, x, ["iwae", "dreg", "vimco"], num_particles=3)
    np.testing.assert_allclose(table["draw"][1], table["draw"][0], rtol=1e-12)
    np.testing.assert_allclose(table["draw"][2], table["draw"][0], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_repeats": 1}, ModelError, "num_repeats must be an integer of at least 2, got 1"),
        ({"num_repeats": 2.5}, ModelError, "num_repeats must be an integer"),
        ({"estimators": ["iwa"]}, ModelError, "did you mean 'iwae'"),
        ({"estimators": [3]}, ModelError, "names or estimators, got int"),
        ({"estimators": [inf.Beta("iwae", 2.0)]}, ModelError, "names or estimators, got Beta"),
        ({"estimators": ["iwae", "iwae"]}, ModelError, "'iwae' is asked for twice"),
        ({"estimators": ["rloo"], "num_particles": 1}, ModelError, "at least 2"),
        ({"parameters": {"mine": [nn.Parameter(torch.zeros(2))]}}, ModelError, "group 'mine'"),
    ],
)
def test_mistakes_are_named(options, error, message):
    lg, x = off_optimum()
    with pytest.raises(error, match=message):
        compare(lg, x, **options)


def test_data_are_judged():
    lg, x = off_optimum()
    with pytest.raises(DataError, match=r"data are empty|at least one datum"):
        compare(lg, x[:0])
    with pytest.raises(ModelError, match=r"\.model and \.guide"):
        compare(3, x)
    grey = pv.VAE((3,), 2, likelihood="bernoulli")
    with pytest.raises(DataError, match="bernoulli"):
        compare(grey, torch.full((4, 3), 0.5))


@pytest.mark.slow
def test_over_particles():
    lg, x = off_optimum()
    names = ["monte-carlo-kl", "iwae", "rloo"]
    table = inf.compare_over_particles(lg, x, names, (1, 4, 16), num_repeats=400, progress=False)
    assert dict(table.sizes) == {"num_particles": 3, "estimator": 3, "group": 2, "repeat": 400}
    assert list(table["estimator"].to_numpy()) == names
    assert np.isnan(table["snr"].sel(num_particles=1, estimator="rloo")).all()
    assert not np.isnan(table["snr"].sel(num_particles=4)).any()
    assert (table["num_draws"].sel(estimator="iwae") == [1, 4, 16]).all()
    assert (table["value"].sel(estimator="iwae").diff("num_particles") > 0).all()
    alone = compare(lg, x, ["monte-carlo-kl"], num_particles=16, num_repeats=400)
    assert (table["draw"].sel(num_particles=16, estimator="monte-carlo-kl") == alone["draw"][0]).all()
    rising = table["snr"].sel(estimator="monte-carlo-kl", group="decoder").to_numpy()
    np.testing.assert_allclose(rising[1:] / rising[:-1], 2, rtol=0.25)
    with pytest.raises(ModelError, match="none of the estimators is defined at num_particles = 1: rloo"):
        inf.compare_over_particles(lg, x, ["rloo"], (1, 4))
    with pytest.raises(ModelError, match="unknown estimator 'iwa'"):
        inf.compare_over_particles(lg, x, ["iwa"], (1,))


@pytest.mark.slow
def test_the_default_list_leaves_out_what_one_draw_cannot_do():
    lg, x = off_optimum()
    table = inf.compare_estimators(lg, x, num_particles=1, num_repeats=2, progress=False)
    assert "rloo" not in table["estimator"].to_numpy()
    assert "rloo: rloo compares draws with each other: num_particles must be at least 2" in table.attrs["skipped"]
    with pytest.raises(ModelError, match="rloo compares draws"):
        compare(lg, x, ["rloo"], num_particles=1)


def test_a_pair_with_something_for_every_datum():
    width = torch.linspace(0.5, 1.5, 5)

    def model(x):
        with pyro.plate("data", 5):
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0))
            pyro.sample("x", dist.Normal(z, width), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(0.8))
        with pyro.plate("data", 5):
            pyro.sample("z", dist.Normal(x / 2, scale))

    table = compare((model, guide), torch.randn(5), ["monte-carlo-kl"], num_repeats=3)
    assert np.isfinite(table["value"]).all()


def test_groups_are_made_of_trainable_parameters():
    lg, x = off_optimum()
    foreign = nn.Parameter(torch.zeros(2))
    for parameters in ({"guide": [lg.guide.posterior.offset, foreign]}, {"guide": []}):
        with pytest.raises(ModelError, match="group 'guide' must hold trainable parameters of this pair alone"):
            compare(lg, x, ["analytic-kl"], num_repeats=2, parameters=parameters)
    with pytest.raises(ModelError, match="parameters must map names of groups"):
        compare(lg, x, ["analytic-kl"], num_repeats=2, parameters=[lg.guide.posterior.offset])


def test_a_pair_whose_densities_move_with_no_parameter_is_named():
    """Torch ended it: "element 0 of tensors does not require grad"."""
    x = torch.zeros(3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.param("unused", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    with pytest.raises(ModelError, match="the densities depend on no parameter"):
        pv.compare_estimators((model, guide), x, ["score-function"])
