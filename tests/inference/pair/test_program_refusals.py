"""What a table of whole programs does not reach: shapes that agree by accident, data cut into parts, gradients of
transformed guides, draws that carry more than a value."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoNormal

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_calibration, run_coverage, run_predictive, simulate_posteriors
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair import evaluation
from tests.inference.oracles import assert_jointly, assert_mean
from tests.inference.pair.user_programs import GAMMA, POSITIVE, PROGRAMS, X, gamma_model, guide, model

pytestmark = pytest.mark.usefixtures("one_thread", "_no_parameters_left")
N = len(X)


@pytest.fixture
def _no_parameters_left():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


# As many particles as data ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data [N, 1]", "head [N, 1]", "as many coordinates as data"])
@pytest.mark.parametrize("ask", ["evaluate", "per_datum", "loss", "log_evidence"])
def test_shapes_that_fit_where_there_are_as_many_particles_as_data_are_refused(name, ask):
    row = PROGRAMS[name]
    pair = row.make()
    calls = {
        "evaluate": lambda: pv.evaluate(pair, row.x, num_particles=N),
        "per_datum": lambda: inf.ImportanceWeighted(N).per_datum(*pair, row.x),
        "loss": lambda: inf.ImportanceWeighted(N).loss(*pair, row.x),
        "log_evidence": lambda: pv.log_evidence(pair, row.x, num_samples=N),
    }
    with pytest.raises(ModelError, match=r"[Ss]hape|values of shape"):
        calls[ask]()


def test_as_many_particles_as_data_are_no_fault_of_the_pair():
    found = pv.evaluate((model, guide), X, num_particles=N)
    scale = 0.8
    exact = -0.5 * math.log(2 * math.pi) - 0.5 * ((0.6 * X) ** 2 + scale**2)
    kl = 0.5 * ((0.4 * X) ** 2 + scale**2 - 1) - math.log(scale)
    torch.testing.assert_close(found.kl, kl)
    assert (found.log_likelihood - exact).abs().mean() < 4 / math.sqrt(N)


# Data cut into parts ----------------------------------------------------------------------------------------


def sliced_model(x):
    """Known noise of each datum, cut to the length of what comes: every part meets the noise of the first data."""
    noise = torch.linspace(0.5, 3.0, 40)[: len(x)]
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, noise), obs=x)


def sliced_guide(x):
    loc = torch.linspace(-1.0, 1.0, 40)[: len(x)]
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 0.8))


@pytest.mark.parametrize(
    ("pair", "side"), [((sliced_model, guide), "model"), ((model, sliced_guide), "guide")], ids=["model", "guide"]
)
def test_programs_that_hold_a_number_for_each_datum_are_not_cut_into_parts(pair, side, monkeypatch):
    x = torch.randn(40)
    whole = pv.evaluate(pair, x, num_particles=20)
    assert whole.elbo.isfinite().all()
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", 200)
    with pytest.raises(ModelError, match=f"the {side}'s density of a datum depends on its place among the data"):
        pv.evaluate(pair, x, num_particles=20)
    with pytest.raises(ModelError, match="depends on its place"):
        pv.log_evidence(pair, x, num_samples=200, memory_limit=1)
    with pytest.raises(ModelError, match=r"depends on its place|do not fit these data"):
        simulate_posteriors(pair, x, 40, 9)


def standardising_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, x.std()), obs=x - x.mean())


@pytest.mark.slow
@pytest.mark.parametrize("program", [standardising_model, sliced_model])
def test_a_model_that_looks_at_its_batch_is_not_cut_into_parts(program, monkeypatch):
    """Its log p(x) was another for every memory limit."""
    x, pair = torch.randn(40), (program, guide)
    words = "depends on the other data of its batch|depends on its place"
    assert pv.log_evidence(pair, x, num_samples=10).mean < 0
    with pytest.raises(ModelError, match=words):
        pv.log_evidence(pair, x, num_samples=200, memory_limit=1)
    for told in (
        lambda: pv.evaluate(pair, list(x.split(10))),
        lambda: pv.log_evidence(pair, list(x.split(10)), num_samples=10),
    ):
        with pytest.raises(ModelError, match=words):
            told()
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", 20)
    with pytest.raises(ModelError, match=words):
        pv.evaluate(pair, x)


def test_a_batch_of_one_datum_under_batch_norm_names_the_remedy():
    class Normalised(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.net(x.unsqueeze(-1)).squeeze(-1), 0.8))

    with pytest.raises(ModelError, match="a batch of one datum has no spread for a BatchNorm: choose a batch_size"):
        pv.fit((model, Normalised()), X[:5], epochs=1, batch_size=4, device="cpu", progress=False)


def test_an_amortised_pair_is_cut_into_parts_and_says_the_same(monkeypatch):
    x = torch.randn(40)
    whole = pv.evaluate((model, guide), x, num_particles=2000)
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", 20_000)
    parts = pv.evaluate((model, guide), x, num_particles=2000)
    torch.testing.assert_close(parts.kl, whole.kl)
    assert (parts.elbo - whole.elbo).abs().max() < 0.3


def test_an_automatic_guide_of_each_datum_is_not_cut_into_parts(monkeypatch):
    pair = gamma_model, AutoNormal(gamma_model)
    assert pv.evaluate(pair, POSITIVE).elbo.shape == (N,)
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", 5)
    with pytest.raises(ModelError, match="AutoNormal was first called with 12 data and now meets 5, but has"):
        pv.evaluate(pair, POSITIVE)
    with pytest.raises(ModelError, match="take all data at once"):
        run_calibration(pair, POSITIVE, num_simulations=20, num_samples=9)


def test_data_along_another_dimension_than_the_first_are_refused():
    def by_time(x):
        with pyro.plate("data", x.shape[1]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), torch.ones(len(x))).to_event(1), obs=x.mT)

    def their_guide(x):
        with pyro.plate("data", x.shape[1]):
            pyro.sample("z", dist.Normal(0.4 * x.mean(0), 0.8))

    with pytest.raises(ModelError, match="the data plate takes 8 of 5 data"):
        pv.evaluate((by_time, their_guide), torch.randn(5, 8))


# Guides that transform --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["monte-carlo-kl", "sticking-the-landing"])
def test_an_automatic_guide_has_the_exact_value_and_gradient(name):
    x = torch.full((4000,), 0.7, dtype=torch.float64)

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z.log(), 1.0), obs=x)

    auto = AutoNormal(theirs)
    auto(x)
    with torch.no_grad():
        auto.locs.z_unconstrained.fill_(0.1)
        auto.scales.z_unconstrained.fill_(0.3)
    # log z is Gaussian in model and guide: the bound is that of N(0.1, s^2) against N(0, 1), in closed form.
    loc, raw = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.1, 0.3))
    scale = torch.nn.functional.softplus(raw)
    if not torch.allclose(auto.scales.z.mean().double(), scale):
        scale = auto.scales.z.mean().double().detach()
    fit = -0.5 * math.log(2 * math.pi) - 0.5 * ((0.7 - loc) ** 2 + scale**2)
    exact = fit - 0.5 * (loc**2 + scale**2 - 1) + scale.log()
    (slope,) = torch.autograd.grad(exact, [loc])
    draws = inf.get_elbo(name).per_datum(theirs, auto, x)
    (gradient,) = torch.autograd.grad(draws.sum(), [auto.locs.z_unconstrained])
    assert_mean(draws.detach().double(), exact.item(), magnitude=1e4)
    error = gradient.std() / math.sqrt(len(gradient))
    assert_jointly(gradient.mean().view(1).double(), error.view(1).double(), slope.view(1), magnitude=1e4)


def test_a_closed_form_of_a_transformed_guide_is_refused_for_the_true_reason():
    with pytest.raises(ModelError, match=r"site 'z_unconstrained' is auxiliary.*no closed-form KL"):
        pv.fit((gamma_model, AutoNormal(gamma_model)), POSITIVE, "analytic-kl", epochs=1, progress=False)
    assert not pv.evaluate((gamma_model, AutoNormal(gamma_model)), POSITIVE).closed_form


@pytest.mark.slow
def test_an_automatic_guide_is_trained_to_a_bound_below_the_evidence():
    pair = gamma_model, AutoNormal(gamma_model)
    svi = pyro.infer.SVI(*pair, pyro.optim.Adam({"lr": 0.05}), inf.MonteCarloKL())
    for _ in range(250):
        svi.step(POSITIVE)
    elbo = pv.evaluate(pair, POSITIVE, num_particles=2000).elbo.double()
    assert (elbo < GAMMA(POSITIVE) + 0.02).all()
    assert (GAMMA(POSITIVE) - elbo).mean() < 0.2


def test_where_no_density_is_asked_for_an_auxiliary_site_does_no_harm():
    pair = PROGRAMS["auxiliary"].make()
    table = run_predictive(pair, X, num_samples=19)
    assert table["p_value"].notnull().all()
    with pytest.raises(ModelError, match="site 'a' is in the guide but not in the model"):
        inf.ScoreFunction().loss(*pair, X)


# Draws that carry more than a value -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["straight-through", "straight-through, one-hot"])
@pytest.mark.parametrize("estimator", ["score-function", "iwae", "dreg", "sticking-the-landing", "rloo", "piwae"])
def test_rounded_draws_have_their_density_under_every_estimator(name, estimator):
    row = PROGRAMS[name]
    pair = row.make()
    elbo = inf.get_elbo(estimator)
    terms = inf.trace_terms(*pair, row.x, num_particles=elbo.num_draws, gradient=elbo.gradient)
    (site,) = terms.sites.values()
    soft = site.draw._unquantize
    torch.testing.assert_close(terms.log_prior, site.p.log_prob(soft).reshape(terms.log_prior.shape))
    torch.testing.assert_close(terms.log_guide, site.q.log_prob(soft).reshape(terms.log_guide.shape))
    loss = elbo.forward(terms)
    loss.backward()
    assert loss.isfinite()
    assert pyro.get_param_store()._params["slope"].grad.isfinite().all()


def test_rounded_draws_have_no_density_elsewhere():
    pair = PROGRAMS["straight-through"].make()
    for ask in (
        lambda: pv.log_evidence(pair, X, "ais", num_temperatures=5),
        lambda: simulate_posteriors(pair, X, 20, 9),
    ):
        with pytest.raises(ModelError, match="site 'z': its distribution keeps '_unquantize' on every draw"):
            ask()


# Scales and masks -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scaled alike", "scaled likelihood"])
def test_annealing_and_importance_tell_the_evidence_of_the_unscaled_model(name):
    row = PROGRAMS[name]
    exact = row.evidence(row.x)
    for method, options in {"importance": {}, "ais": {"num_temperatures": 40, "num_leapfrog": 4}}.items():
        found = pv.log_evidence(row.make(), row.x, method, num_samples=16 if method == "ais" else 2000, **options)
        assert abs(found.mean - exact.mean()) < 4 * found.stderr + 0.01


def test_a_scaled_loss_trains_as_stock_pyro_has_it():
    row = PROGRAMS["scaled alike"]
    pair = row.make()
    stock = pyro.infer.TraceMeanField_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    ours = inf.AnalyticKL(num_particles=2000).loss(*pair, X)
    assert abs(ours - stock.loss(*pair, X)) < 0.02 * N


def test_annealing_refuses_a_masked_prior():
    pair = PROGRAMS["masked latent"].make()
    with pytest.raises(ModelError, match="site 'z' is masked for data whose 'x' is not"):
        pv.log_evidence(pair, X, "ais", num_temperatures=5)


# Values that are no data ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_computed_site_is_neither_latent_nor_observed():
    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = pyro.deterministic("mean", 2 * z)
            pyro.sample("x", dist.Normal(0.5 * mean, 1.0), obs=x)

    def exact_guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, math.sqrt(0.5)))

    found = simulate_posteriors((theirs, exact_guide), X, 400, 39)
    assert list(found.values) == ["z"]
    assert found.x.shape == (400,)
    assert run_calibration(found)["p_value"].min() * 3 > 0.01
    assert run_coverage(found)["region"].to_numpy().tolist() == ["z", "highest density", "TARP"]
    assert run_predictive((theirs, exact_guide), X, num_samples=19)["p_value"].notnull().all()


def test_a_factor_counts_in_the_density_and_cannot_be_drawn():
    pair = PROGRAMS["factor"].make()
    for ask in (simulate_posteriors, run_predictive):
        with pytest.raises(ModelError, match="site 'penalty' is a factor"):
            ask(pair, X)
    groups = pv.inference_data(pair, X, num_samples=20)
    assert list(groups.observed_data) == ["x"]
    assert list(groups.posterior_predictive) == ["x"]


def test_data_outside_the_support_are_named_and_masked_ones_are_not_looked_at():
    row = PROGRAMS["Gamma and integer counts"]
    theirs, ours = row.make()
    broken = row.x.clone()
    broken[3] = -1
    with pytest.raises(DataError, match=r"site 'x': the data hold values outside the support of its Poisson"):
        pv.evaluate((theirs, ours), broken)

    def masked(program):
        def run(x):
            with poutine.mask(mask=broken >= 0):
                program(x)

        return run

    assert pv.evaluate((masked(theirs), masked(lambda x: ours(x.clamp(min=0)))), broken).elbo.isfinite().all()


def test_broken_parameters_are_named():
    def broken(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x * math.nan, 1.0))

    with pytest.raises(ModelError, match="site 'z': the guide's draws are NaN"):
        pv.log_evidence((model, broken), X, num_samples=50)


def test_data_that_index_a_tensor_are_told_how_at_any_number_of_draws():
    """With several draws the words were of programs that keep a number per datum."""
    rows = torch.eye(3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=rows[x].sum(-1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(rows[x].sum(-1), 1.0))

    for num_particles in (1, 10):
        with pytest.raises(ModelError, match=r"^tensors used as indices must.*use x.long\(\) where it is an index"):
            pv.evaluate((model, guide), torch.tensor([0, 2, 1]), num_particles)
