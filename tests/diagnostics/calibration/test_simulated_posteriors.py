"""The simulation that calibration stands on: what is in it, from which pairs, and what is refused."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics.calibration.calibration import run_calibration
from ppl_vae.diagnostics.calibration.coverage import run_coverage
from ppl_vae.diagnostics.calibration.simulated_posteriors import simulate_posteriors
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.joint import terms_at
from tests.diagnostics.faulty_guides import BIAS, SIGMA, WEIGHT, Faulty, planted, simulated


def test_row_0_is_the_truth_and_the_others_are_the_guides():
    """Standardised by the posterior, truth and draws are N(0, 1) each; data are the truth's own."""
    found, exact = simulated("exact"), Faulty()
    loc = (found.x - BIAS) @ exact.gain.mT
    scaled = (found.dimensions - loc) @ torch.linalg.inv(torch.linalg.cholesky(exact.exact)).mT
    for rows in (scaled[:1], scaled[1:]):
        number = rows[..., 0].numel()
        assert rows.mean((0, 1)).abs().max() < 4 / math.sqrt(number)
        assert (rows.var((0, 1)) - 1).abs().max() < 4 * math.sqrt(2 / number)
    residual = (found.x - found.values["z"][0] @ WEIGHT.mT - BIAS) / SIGMA
    assert abs(residual.square().mean().item() - 1) < 4 * math.sqrt(2 / residual.numel())


@pytest.mark.parametrize(("num_data", "lent"), [(10, [0, 2, 4, 6, 8]), (3, [0, 1, 2, 0, 1])])
def test_covariates_are_those_of_data_from_all_over(num_data, lent):
    """Of data in an order the first five would be of one class."""
    vae = pv.models.ConditionalVAE((4,), 2, 10, likelihood="gaussian")
    found = simulate_posteriors(vae, (torch.zeros(num_data, 4), torch.arange(num_data)), 5, 2)
    assert found.datum.tolist() == lent
    assert [c.tolist() for c in found.covariates] == [lent]


def test_densities_are_those_of_the_pair_at_these_values():
    found = simulated("narrow")
    vae = planted("narrow")
    terms = terms_at(vae.model, vae.guide, found.x, found.values)
    torch.testing.assert_close(found.log_likelihood, terms.log_likelihood)
    torch.testing.assert_close(found.log_prior, terms.log_prior)
    torch.testing.assert_close(found.require_density(), terms.log_guide)


def test_chunks_seeds_and_global_streams():
    vae = planted("exact")
    before = torch.get_rng_state()
    first, again = (simulate_posteriors(vae, (5,), 30, 7, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.dimensions, again.dimensions)
    assert not torch.equal(first.x, simulate_posteriors(vae, (5,), 30, 7, seed=4).x)
    assert (first.num_simulations, first.num_draws) == (30, 7)
    assert first.dimension_names == ["z[0]", "z[1]"]


def test_several_passes_hold_as_many_simulations(monkeypatch):
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 8 * 5 * 4)
    found = simulate_posteriors(planted("exact"), (5,), 30, 7)
    assert found.dimensions.shape == (8, 30, 2)
    assert found.x.shape == (30, 5)
    assert found.require_density().shape == (8, 30)


def test_the_values_of_the_data_do_not_matter_and_their_number_neither():
    vae = planted("exact")
    by_shape = simulate_posteriors(vae, (5,), 20, 3)
    by_data = simulate_posteriors(vae, 100 * torch.ones(7, 5), 20, 3)
    assert torch.equal(by_shape.x, by_data.x)


def hierarchical_model(x):
    """z ~ N(0, 1), w | z ~ N(z, I_2), x | w ~ N(w, I_2): a scalar site and a vector."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), dtype=x.dtype), 1.0))
        w = pyro.sample("w", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)


def hierarchical_guide(x):
    """The exact posterior, drawn in the other order: w | x, then z | w."""
    prior = torch.ones(2, 2, dtype=x.dtype) + torch.eye(2, dtype=x.dtype)
    covariance = torch.linalg.inv(torch.linalg.inv(prior) + torch.eye(2, dtype=x.dtype))
    with pyro.plate("data", len(x)):
        w = pyro.sample("w", dist.MultivariateNormal(x @ covariance.mT, covariance))
        pyro.sample("z", dist.Normal(w.sum(-1) / 3, math.sqrt(1 / 3)))


@pytest.mark.slow
def test_a_users_pair_of_several_sites_in_any_order():
    found = simulate_posteriors((hierarchical_model, hierarchical_guide), torch.zeros(1, 2).double(), 500, 49)
    assert found.dimension_names == ["z", "w[0]", "w[1]"]
    table = run_calibration(found, quantities={"z w": lambda x, z: z["z"] * z["w"][..., 0]})
    assert table["quantity"].to_numpy().tolist() == ["z", "w[0]", "w[1]", "log p(x|z)", "log p(z)", "z w"]
    assert table["p_value"].min() * 6 > 0.01
    assert run_coverage(found)["p_value"].min() * 5 > 0.01


def discrete_pair():
    """A code of one bit: P(z = 1) = 0.3, x | z ~ N(2 z, 1), with its exact posterior."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((len(x),), 0.3, dtype=x.dtype)))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=math.log(0.3 / 0.7) + 2 * x - 2))

    return model, guide


def test_a_discrete_code_whose_ranks_are_nearly_all_ties():
    table = run_calibration(discrete_pair(), torch.zeros(1).double(), 500, 49)
    assert table["p_value"].min() * 3 > 0.01


def auxiliary_pair():
    """The guide draws a variable of its own first; given x, z is its exact posterior all the same."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x), dtype=x.dtype), 0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(x / 2 + u, 0.5))

    return model, guide


def test_a_guide_without_a_density_has_ranks_and_tarp_but_no_weights_and_no_highest_density():
    found = simulate_posteriors(auxiliary_pair(), torch.zeros(1).double(), 500, 49)
    assert run_calibration(found)["p_value"].min() * 3 > 0.01
    coverage = run_coverage(found)
    assert coverage["region"].to_numpy().tolist() == ["z", "TARP"]
    assert "'u' is auxiliary" in coverage.attrs["without_highest_density"]
    with pytest.raises(ModelError, match="'u' is auxiliary"):
        run_calibration(found, importance_weighted=True)


def test_a_flow_without_an_inverse_is_one_of_these():
    vae = pv.VAE((3,), 2, network="linear", likelihood="gaussian", posterior={"name": "flow", "kind": "planar"})
    found = simulate_posteriors(vae, (3,), 20, 4)
    assert found.log_guide is None
    with pytest.raises(ModelError, match=r"site 'z'.*has no inverse.*and not at simulated values"):
        found.require_density()


class Scored(dist.TorchDistribution):
    """A user's own likelihood N(loc, 1) that has a density and says nothing of its support."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def log_prob(self, value):
        return dist.Normal(self.loc, 1.0).log_prob(value)

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.loc.expand(batch_shape))


class Drawn(Scored):
    """The same with draws."""

    def sample(self, sample_shape=()):
        return dist.Normal(self.loc, 1.0).sample(sample_shape)


@pytest.mark.parametrize("likelihood", [Scored, Drawn])
def test_a_users_own_likelihood_is_simulated_if_it_can_be_drawn_from(likelihood):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), dtype=x.dtype), 1.0))
            pyro.sample("x", likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    if likelihood is Drawn:
        table = run_calibration((model, guide), torch.zeros(1).double(), 500, 49)
        assert table["p_value"].min() * 3 > 0.01
        return
    with pytest.raises(
        ModelError, match="the model cannot be drawn from: one of its distributions has no sample method"
    ):
        simulate_posteriors((model, guide), torch.zeros(1).double(), 10, 3)


@pytest.mark.parametrize("name", ["bernoulli-relaxed", "bernoulli"])
def test_grey_data_under_a_bernoulli_are_refused(name):
    vae = pv.VAE((1, 4, 4), 2, network="linear", likelihood=name)
    with pytest.raises(DataError, match=r"data that the model can draw.*support of its Bernoulli.*binarise"):
        simulate_posteriors(vae, torch.full((2, 1, 4, 4), 0.5), 10, 3)
    assert simulate_posteriors(vae, (1, 4, 4), 10, 3).x.unique().tolist() == [0, 1]


def test_data_with_holes_are_simulated_with_the_same_holes():
    vae = pv.VAE((4,), 2, network="linear", likelihood={"name": "missing-pixels", "of": "bernoulli"})
    x = torch.tensor([[0.0, 1.0, torch.nan, 1.0], [torch.nan, 1.0, 0.0, 1.0]])
    found = simulate_posteriors(vae, x, 10, 3)
    assert torch.equal(found.x.isnan(), x.isnan().repeat(5, 1))
    assert not simulate_posteriors(vae, (4,), 10, 3).x.isnan().any()


@pytest.mark.slow
def test_coverage_is_that_of_the_guide_on_rows_with_holes():
    """A guide that is exact on whole rows and takes a hole for a 0: its coverage in closed form, and by simulation.

    x = w z + s e, z_q = N(a.x, v) with the posterior's a and v. On a row whose cells o are observed
    z - a_o.x_o = (1 - a_o.w_o) z - s a_o.e has variance (1 - a_o.w_o)^2 + s^2 |a_o|^2.
    """
    weight, sigma = torch.tensor([1.0, -0.8, 0.6, 1.2]), 0.3
    variance = 1 / (1 + weight.square().sum() / sigma**2)
    gain = variance * weight / sigma**2
    vae = pv.VAE(
        (4,),
        1,
        network=(torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(1, 4, bias=False)),
        likelihood={"name": "missing-pixels", "of": {"name": "gaussian", "sigma": sigma}},
        posterior={"name": "diagonal", "scale": "log-scale"},
    )
    with torch.no_grad():
        vae.guide.encoder.weight.copy_(gain[None])
        vae.model.decoder.weight.copy_(weight[:, None])
        vae.guide.posterior.loc_head.weight.fill_(1.0)
        vae.guide.posterior.scale_head.weight.fill_(0.0)
        vae.guide.posterior.loc_head.bias.fill_(0.0)
        vae.guide.posterior.scale_head.bias.fill_(variance.sqrt().log())
    observed = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 0, 1]], dtype=torch.bool)
    spread = (1 - (gain * weight * observed).sum(1)).square() + sigma**2 * (gain.square() * observed).sum(1)
    exact = (2 * torch.distributions.Normal(0, 1).cdf(1.6449 * (variance / spread).sqrt()) - 1).mean().item()
    assert exact < 0.75
    size = 2000
    found = run_coverage(vae, torch.zeros(4, 4).where(observed, torch.nan), num_simulations=size)
    reported = found.coverage.sel(region="z[0]", nominal=0.9, method=None).item()
    # Four standard errors of a share, and 0.01 for intervals of 99 draws.
    assert reported == pytest.approx(exact, abs=4 * (exact * (1 - exact) / size) ** 0.5 + 0.01)
    whole = run_coverage(vae, (4,), num_simulations=size).coverage.sel(region="z[0]", nominal=0.9).item()
    assert whole == pytest.approx(0.9, abs=4 * (0.09 / size) ** 0.5 + 0.01)


def test_refuses_what_it_cannot_simulate():
    with pytest.raises(DataError, match=r"expected data \[N, \*event_shape\] or their event shape.*got \[0, 5\]"):
        simulate_posteriors(planted("exact"), torch.zeros(0, 5))
    with pytest.raises(ModelError, match="num_samples"):
        simulate_posteriors(planted("exact"), (5,), num_samples=0)
    with pytest.raises(DataError, match="x: expected data, or their event shape"):
        run_calibration(planted("exact"))
