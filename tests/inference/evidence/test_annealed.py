"""Annealing with exact transitions is a Riemann sum; with HMC it is judged by closed forms and quadrature."""

import math
import warnings

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics import run_evidence, run_importance
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.annealed import annealed_weights, reverse_weights, sigmoid_schedule
from ppl_vae.inference.evidence.haste import warn_of_haste
from ppl_vae.inference.evidence.hmc import state_at
from ppl_vae.inference.evidence.unconstrained import LatentPath
from tests.inference.comparisons import CategoricalPair
from tests.inference.evidence.exact_path import ExactPath
from tests.inference.oracles import assert_jointly
from tests.scenarios import all_binary, binary_mlp, draw_data, linear_gaussian, quadrature_evidence

CHAINS = 20_000


@pytest.fixture(params=["prior", "guide"])
def annealing(request):
    lg = linear_gaussian(seed=3, data_dim=3, latent_dim=2)
    with torch.no_grad():
        lg.guide.posterior.log_scale += 0.4
        lg.guide.posterior.offset += 0.3
    x = draw_data(lg, 2)
    path, exact = LatentPath(lg.model, lg.guide, x, request.param), ExactPath(lg, x, request.param)
    generator = torch.Generator().manual_seed(0)
    return lg, x, path, exact, exact.transition(path, CHAINS, generator), generator


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow"])
def test_a_prior_over_the_real_numbers_needs_no_transform(prior):
    vae = pv.VAE((4,), 2, likelihood="gaussian", prior=prior, seed=0)
    path = LatentPath(vae.model, vae.guide, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    position = path.draw(5)
    values, log_jacobian = path.unpack(position)
    assert torch.equal(values["z"], position)
    assert not log_jacobian.any()


def test_the_schedule_is_wu_et_als():
    betas = sigmoid_schedule(1000)
    raw = [1 / (1 + math.exp(-4 * (2 * t / 1000 - 1))) for t in (0, 250, 1000)]
    assert betas[250].item() == pytest.approx((raw[1] - raw[0]) / (raw[2] - raw[0]))
    assert (betas[0], betas[-1]) == (0, 1)
    assert (betas.diff() > 0).all()


def test_the_integral_of_the_expected_log_ratio_is_the_log_evidence(annealing):
    """The oracle itself: Simpson's rule over beta."""
    lg, x, _, exact, *_ = annealing
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    values = torch.stack([exact.expected_log_ratio(b) for b in grid])
    simpson = (values[:-1:2] + 4 * values[1::2] + values[2::2]).sum(0) / 1200
    torch.testing.assert_close(simpson, lg.log_evidence(x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4, 16])
def test_exact_transitions_give_the_left_and_the_right_riemann_sum(annealing, steps):
    lg, x, path, exact, transition, generator = annealing
    betas = sigmoid_schedule(steps)
    values = torch.stack([exact.expected_log_ratio(b) for b in betas])
    width = betas.diff()[:, None]
    with torch.no_grad():
        start, end = (state_at(path, exact.draw(b, CHAINS, generator)) for b in (0.0, 1.0))
        forward = annealed_weights(start, betas, transition)
        backward = reverse_weights(end, betas, transition)
        evidence = lg.log_evidence(x)
    for log_weight, sum_ in ((forward, (width * values[:-1]).sum(0)), (backward, (width * values[1:]).sum(0))):
        assert_jointly(log_weight.mean(0), log_weight.std(0) / math.sqrt(CHAINS), sum_)
    if steps > 1:  # with one step the weights of a wide start have no variance to speak an error with
        relative = (forward - evidence).exp()
        assert_jointly(relative.mean(0), relative.std(0) / math.sqrt(CHAINS), torch.ones(2, dtype=torch.float64))
        relative = (evidence - backward).exp()
        assert_jointly(relative.mean(0), relative.std(0) / math.sqrt(CHAINS), torch.ones(2, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["prior", "guide"])
def test_hmc_finds_the_log_evidence_within_three_standard_errors(start):
    lg = linear_gaussian(seed=3, data_dim=4, latent_dim=2)
    with torch.no_grad():  # wider than the posterior, so that the standard error can be believed
        lg.guide.posterior.log_scale += 0.5
    x = draw_data(lg, 6)
    found = pv.log_evidence(lg, x, "ais", num_samples=100, num_temperatures=60, start=start)
    with torch.no_grad():
        z = (found.per_datum - lg.log_evidence(x)) / found.per_datum_stderr
    assert z.abs().max() < 3
    assert found.per_datum_stderr.max() < 0.1
    assert (found.method, found.num_samples) == ("ais", 100)


@pytest.mark.slow
def test_from_the_exact_posterior_every_weight_is_the_evidence():
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 4)
    found = pv.log_evidence(lg, x, "ais", num_samples=4, num_temperatures=5, start="guide")
    torch.testing.assert_close(found.per_datum, lg.log_evidence(x).detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_on_a_binary_decoder_it_agrees_with_quadrature():
    vae = binary_mlp()
    x = all_binary()[::8]
    found = pv.log_evidence(vae, x, "ais", num_samples=100, num_temperatures=100)
    off = found.per_datum - quadrature_evidence(vae, x)
    assert off.abs().max() < 0.05
    assert (off / found.per_datum_stderr).abs().max() < 4


def gamma_poisson(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5).expand([len(x)]))
        pyro.sample("x", dist.Poisson(rate), obs=x)


def log_normal_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("rate", dist.LogNormal((x + 1).log(), 0.8))


@pytest.mark.parametrize("start", [pytest.param("prior", marks=pytest.mark.slow), "guide"])
def test_a_positive_latent_is_annealed_in_its_logarithm(start):
    """x of a Gamma-Poisson pair is negative binomial."""
    x = torch.tensor([0.0, 2.0, 9.0], dtype=torch.float64)
    pair = (gamma_poisson, log_normal_guide)
    found = pv.log_evidence(pair, x, "ais", num_samples=200, num_temperatures=40, start=start)
    exact = dist.NegativeBinomial(2.0, probs=torch.tensor(1 / 1.5, dtype=torch.float64)).log_prob(x)
    z = (found.per_datum - exact) / found.per_datum_stderr
    assert z.abs().max() < 3.5
    assert found.per_datum_stderr.max() < 0.1


def two_stage_model(x):
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(x.new_zeros(len(x)), 1.0))
        middle = pyro.sample("middle", dist.Normal(0.8 * top, 0.5))
        pyro.sample("x", dist.Normal(middle, 0.4), obs=x)


def two_stage_guide(x):
    with pyro.plate("data", len(x)):
        middle = pyro.sample("middle", dist.Normal(0.7 * x, 0.5))
        pyro.sample("top", dist.Normal(0.8 * middle, 0.7))


@pytest.mark.parametrize("start", [pytest.param("prior", marks=pytest.mark.slow), "guide"])
def test_several_sites_are_annealed_together(start):
    x = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    found = pv.log_evidence(
        (two_stage_model, two_stage_guide), x, "ais", num_samples=400, num_temperatures=20, start=start
    )
    variance = torch.tensor(0.64 + 0.25 + 0.16, dtype=torch.float64)
    z = (found.per_datum - dist.Normal(0.0, variance.sqrt()).log_prob(x)) / found.per_datum_stderr
    assert z.abs().max() < 3.5
    assert found.per_datum_stderr.max() < 0.1


@pytest.mark.slow
def test_passes_change_the_draws_and_nothing_else():
    lg = linear_gaussian(seed=3, data_dim=4, latent_dim=2)
    x = draw_data(lg, 2)
    found = pv.log_evidence(lg, x, "ais", num_samples=50, num_temperatures=20, memory_limit=1)
    with torch.no_grad():
        z = (found.per_datum - lg.log_evidence(x)) / found.per_datum_stderr
    assert z.abs().max() < 3.5


def auxiliary_guide(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(x.new_zeros(len(x)), 1.0), infer={"is_auxiliary": True})
        pyro.sample("rate", dist.LogNormal(a, 0.8))


def dependent_support(x):
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.LogNormal(x.new_zeros(len(x)), 1.0))
        middle = pyro.sample("middle", dist.Uniform(torch.zeros_like(top), top))
        pyro.sample("x", dist.Normal(middle, 0.4), obs=x)


def dependent_guide(x):
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.LogNormal(x.new_zeros(len(x)), 1.0))
        pyro.sample("middle", dist.Uniform(torch.zeros_like(top), top))


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        (CategoricalPair(), {}, "site 'label' is discrete: annealing and HMC need continuous"),
        ((gamma_poisson, auxiliary_guide), {"start": "guide"}, "site 'a' is auxiliary"),
        ((dependent_support, dependent_guide), {}, "site 'middle': its support depends on another latent site"),
        ((gamma_poisson, log_normal_guide), {"start": "posterior"}, "unknown start 'posterior'"),
        ((gamma_poisson, log_normal_guide), {"num_temperatures": 0}, "num_temperatures must be"),
        ((gamma_poisson, log_normal_guide), {"num_samples": 1}, "num_samples must be"),
        ((gamma_poisson, log_normal_guide), {"num_leapfrog": 0}, "num_leapfrog must be an integer of at least 1"),
        ((gamma_poisson, log_normal_guide), {"num_temperatures": None}, "num_temperatures must be.*got None"),
    ],
)
def test_what_cannot_be_annealed_is_named(pair, options, message):
    x = torch.ones(2, 2, dtype=torch.float64) if isinstance(pair, CategoricalPair) else torch.ones(2)
    with pytest.raises(ModelError, match=message):
        pv.log_evidence(pair, x, "ais", **options)


@pytest.mark.slow
def test_a_datum_whose_weights_are_no_numbers_is_named():
    """Chains of a model that is broken never move, and their weights are NaN."""
    lg = pv.LinearGaussianVAE(torch.full((3, 1), torch.nan), torch.zeros(3), 1.0)
    with pytest.raises(ModelError, match="datum 0: an importance weight is NaN"):
        pv.log_evidence(lg, torch.zeros(2, 3), "ais", num_samples=2, num_temperatures=2)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["prior", "guide"])
def test_a_masked_latent_that_nothing_reads_is_annealed(start):
    """The closed form: w of the last two data is in no density. It was refused as if x depended on it."""
    kept, x = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([0.3, -1.0, 0.5, 2.0])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            w = pyro.sample("w", dist.Normal(torch.zeros(len(x)), 1.0).mask(kept))
            pyro.sample("x", dist.Normal(z + torch.where(kept, w, 0.0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.9))
            pyro.sample("w", dist.Normal(x / 2, 0.9).mask(kept))

    found = pv.log_evidence((model, guide), x, num_samples=4000)
    exact = dist.Normal(0.0, torch.where(kept, 3.0, 2.0).sqrt()).log_prob(x)
    assert ((found.per_datum - exact).abs() < 4 * found.per_datum_stderr).all()
    found = pv.log_evidence((model, guide), x, method="ais", num_samples=64, num_temperatures=60, start=start)
    assert ((found.per_datum - exact).abs() < 4 * found.per_datum_stderr).all()


def test_a_masked_latent_that_data_depend_on_is_not_annealed():
    def model(x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Normal(torch.zeros(len(x)), 1.0).mask(x > 0))
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    with pytest.raises(ModelError, match="site 'w' is masked for data whose 'x' is not, and depends on it"):
        LatentPath(model, model, torch.tensor([1.0, -1.0]))


def test_the_error_of_one_chain_is_none():
    with pytest.warns(UserWarning, match="of 1 of 3 data one of the 16 chains has most of the weight"):
        warn_of_haste(torch.tensor([0.1, 0.9, 0.5]), 16)
    warn_of_haste(torch.tensor([0.1, 0.6]), 16)
    # Of two chains one weighs so much by chance.
    warn_of_haste(torch.tensor([0.9]), 2)


@pytest.mark.slow
def test_a_walk_that_was_too_fast_says_that_its_error_is_none():
    """It was told as -41.1 +- 0.3 nats a datum, where -0.7 is right."""
    weight = torch.tensor([[1.0, 0.5], [0.2, -1.0], [0.3, 0.7]], dtype=torch.float64)
    lg = pv.LinearGaussianVAE(weight, torch.zeros(3, dtype=torch.float64), 0.005)
    x = draw_data(lg, 4)
    with pytest.warns(UserWarning, match="one of the 16 chains has most of the weight"):
        found = pv.log_evidence(lg, x, "ais", num_temperatures=5)
    assert found.mean + 5 < lg.log_evidence(x).mean()
    assert found.per_datum_stderr.max() > 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_evidence(lg, x, run_importance(lg, x, 100), 2, num_temperatures=2)
