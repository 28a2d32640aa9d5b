"""Random numbers outside sample sites: right where every draw has its own, refused by name where it is not.

z, e ~ N(0, 1), x | z ~ N(z + e, 1) has p(x) = N(x; 0, 3), whoever draws e.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_calibration, run_importance
from ppl_vae.errors import ModelError
from ppl_vae.inference.chains.whole_latents import WholeLatents
from ppl_vae.inference.evidence.curve import evidence_curve
from ppl_vae.inference.pair.hidden_noise import HiddenNoise, hidden_noise
from tests.inference.pair.user_programs import X, guide, model, normal_evidence

OWN = np.random.default_rng(0)
NOISE = {
    "own": lambda z, x: torch.randn_like(z + x),
    "shared": lambda z, x: torch.randn(len(x)),
    "one for all": lambda z, x: torch.randn(()),
    "rare": lambda z, x: 3.0 * (torch.rand(len(x)) < 0.5),
    "NumPy's": lambda z, x: torch.from_numpy(stats.norm.rvs(size=len(x))).float(),
    "a generator's own": lambda z, x: torch.from_numpy(OWN.standard_normal(len(x))).float(),
}
SHARED = [name for name in NOISE if name != "own"]


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def noisy_model(kind):
    noise = NOISE[kind]

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + noise(z, x), 1.0), obs=x)

    return theirs


def noisy_guide(x):
    noise = torch.randn(len(x))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x + 0.3 * noise, 0.75))


class Cooling:
    """A model whose density moves with its calls, by no random number."""

    calls = 0

    def __call__(self, x):
        self.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0 + 1.0 / self.calls))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize("kind", SHARED)
def test_noise_that_draws_share_has_no_weights(kind):
    pair = noisy_model(kind), guide
    for told in (pv.log_evidence, run_importance):
        with pytest.raises(ModelError, match="random numbers outside its sample sites"):
            told(pair, X, num_samples=100)


@pytest.mark.slow
def test_noise_of_each_draw_is_integrated_out():
    pair = noisy_model("own"), guide
    found = pv.log_evidence(pair, X, num_samples=5000)
    assert abs(found.mean - normal_evidence(X, scale=3**0.5).mean()) < 4 * found.stderr + 1e-3
    # Cut into parts it is no parameter of each datum either.
    parts = pv.log_evidence(pair, X.repeat(12), num_samples=5000, memory_limit=1 << 18)
    assert abs(parts.mean - normal_evidence(X, scale=3**0.5).mean()) < 4 * parts.stderr + 1e-3
    with pytest.raises(ModelError, match="the model draws random numbers outside its sample sites"):
        pv.log_evidence(pair, X, "ais", num_samples=2, num_temperatures=10)


def test_noise_of_the_guide_leaves_weights_right_and_its_density_wrong():
    pair = model, noisy_guide
    found = pv.log_evidence(pair, X, num_samples=5000)
    assert abs(found.mean - normal_evidence(X).mean()) < 4 * found.stderr + 1e-3
    for told in (lambda: run_importance(pair, X, num_samples=100), lambda: run_calibration(pair, X)):
        with pytest.raises(ModelError, match=r"its log q\(z\|x\) is not the density of"):
            told()
    with pytest.raises(ModelError, match="the guide draws random numbers outside its sample sites"):
        pv.log_evidence(pair, X, "ais", num_samples=2, num_temperatures=10, start="guide")


def with_noise_for_all(side):
    """Programs with one e ~ N(0, 1) for all data and draws of a run: in the model's mean, or in the guide's."""

    def theirs(x):
        e = torch.randn(()) if side == "model" else 0.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + e, 1.0), obs=x)

    def ours(x):
        e = torch.randn(()) if side == "guide" else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x + e, 0.75))

    return theirs, ours


@pytest.mark.parametrize("form", ["whole", pytest.param("batches", marks=pytest.mark.slow)])
@pytest.mark.parametrize("side", ["model", "guide"])
def test_the_error_of_an_elbo_holds_noise_that_all_data_share(side, form):
    """The ELBO of x ~ N(0, 2) is exact; the spread over seeds is the error that was stated."""
    x = 2**0.5 * torch.randn(300, generator=torch.Generator().manual_seed(0))
    given = x if form == "whole" else list(x.split(100))
    # -1/2 log 2 pi - 1/2 E (x - z - e)^2 - KL(N(x / 2 + e', 0.75^2) || N(0, 1)), with e or e' of mean square 1.
    kl = 0.5 * (0.75**2 - 1 - 2 * np.log(0.75) + 0.25 * x.square().mean().item() + (side == "guide"))
    exact = -0.5 * (np.log(2 * np.pi) + 0.25 * x.square().mean().item() + 0.75**2 + 1) - kl
    told = [pv.evaluate(with_noise_for_all(side), given, num_particles=2, seed=seed) for seed in range(24)]
    values, variances = [t.summary()["elbo"] for t in told], [t.draws_stderr**2 for t in told]
    assert {t.num_passes for t in told} == {16}
    assert abs(np.mean(values) - exact) < 4 * np.sqrt(np.mean(variances) / 24)
    # The variance of 24 values has a relative error of sqrt(2 / 23), 0.3, and the logarithm of it as well.
    assert abs(np.log(np.var(values, ddof=1) / np.mean(variances))) < 4 * 0.3


def noisy_rows(x):
    """z, e ~ N(0, 1), x ~ N(z + e, 1); every draw has an e of its own, which all data share."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z + torch.randn((*z.shape[:-1], 1)), 1.0), obs=x)


def spread_and_stated(ask, seeds):
    """The standard deviation of a mean over seeds, the error that was stated, and the mean of all."""
    values, errors = zip(*(ask(seed) for seed in range(seeds)), strict=True)
    return np.std(values, ddof=1), np.sqrt(np.mean(np.square(errors))), np.mean(values)


@pytest.mark.parametrize("form", ["whole", "batches"])
def test_data_whose_weights_are_one_have_one_error(form):
    """x ~ N(e, 1) with one e a draw: equal data have equal weights, so that their mean has the error of each."""

    def theirs(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(0 * z + torch.randn((*z.shape[:-1], 1)), 1.0), obs=x)

    def ours(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    x = torch.full((16,), 1.5)
    given = x if form == "whole" else list(x.split(8))
    found = pv.log_evidence((theirs, ours), given, num_samples=100, progress=False)
    # Two batches have draws of their own.
    each = found.per_datum_stderr[[0, -1]]
    expected = each[0].item() if form == "whole" else each.square().sum().sqrt().item() / 2
    assert found.stderr == pytest.approx(expected, rel=1e-6)
    assert found.data_stderr >= found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("form", ["importance", "jackknife", "batches", "curve"])
def test_the_error_of_log_evidence_holds_noise_that_all_data_share(form):
    """p(x) = N(0, 3) is exact; errors taken for independent would be too small."""
    x, seeds = torch.full((200,), 2.5), 12 if form == "importance" else 30

    def ask(seed):
        if form == "curve":
            curve = evidence_curve((noisy_rows, half_of_x), x, (40, 200), seed=seed)
            return curve["importance"][1].item(), curve["importance_stderr"][1].item()
        data = list(x.split(100)) if form == "batches" else x
        method = "jackknife" if form == "jackknife" else "importance"
        found = pv.log_evidence((noisy_rows, half_of_x), data, method, num_samples=200, seed=seed, progress=False)
        return found.mean, found.stderr

    spread, stated, mean = spread_and_stated(ask, seeds)
    exact = dist.Normal(0.0, 3**0.5).log_prob(x).mean().item()
    # The bias of the bound is -spread^2 / 2 of a datum, to first order.
    assert abs(mean - exact) < 4 * stated / seeds**0.5 + stated**2
    assert abs(np.log(spread / stated)) < 4 / np.sqrt(2 * (seeds - 1))


def half_of_x(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 0.75))


def test_programs_without_noise_of_their_own_are_run_once():
    told = pv.evaluate((model, guide), X, num_particles=2)
    assert (told.num_passes, told.draws_stderr) == (1, None)


def test_noise_between_a_guides_runs_has_no_stopped_density():
    def theirs(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(0.0, 1.0))
            low = pyro.sample("low", dist.Normal(top, 1.0))
            pyro.sample("x", dist.Normal(low, 1.0), obs=x)

    def ours(x):
        slope = pyro.param("slope", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(slope * x + torch.randn(len(x)), 0.9))
            pyro.sample("top", dist.Normal(0.5 * low, 0.75))

    with pytest.raises(ModelError, match="site 'low': run again at the same draws the guide has another density"):
        inf.get_elbo("dreg", num_particles=3).per_datum(theirs, ours, X)


def test_chains_over_all_sites_need_one_density_too():
    def theirs(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("x", dist.Normal(z + torch.randn_like(z + x), 1.0), obs=x)

    with pytest.raises(ModelError, match="the model draws random numbers outside its sample sites"):
        WholeLatents(theirs, X)


def test_what_is_no_noise_is_not_called_so():
    before = torch.get_rng_state()
    assert hidden_noise(model, guide, (X,)) == HiddenNoise("none", "none")
    assert hidden_noise(Cooling(), guide, (X,)) == HiddenNoise("none", "none")
    assert torch.equal(before, torch.get_rng_state())


def some_pixels(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        with pyro.plate("pixels", x.shape[1], subsample_size=2, dim=-2) as chosen:
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.mT[chosen])


def of_all_pixels(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.2 * x.sum(-1), 0.55))


def test_a_plate_that_takes_some_pixels_has_an_elbo_and_no_weights():
    pair, x = (some_pixels, of_all_pixels), torch.linspace(-1, 2, 18, dtype=torch.float64).reshape(6, 3)
    found = inf.evaluate(pair, x, num_particles=200)
    loc = 0.2 * x.sum(-1)
    likelihood = -0.5 * math.log(2 * math.pi) - 0.5 * ((x - loc[:, None]) ** 2 + 0.55**2)
    elbo = likelihood.sum(-1) - 0.5 * (loc**2 + 0.55**2 - 1) + math.log(0.55)
    assert abs(found.elbo.mean() - elbo.mean()).item() < 4 * found.draws_stderr
    for ask in (inf.log_evidence, run_importance):
        with pytest.raises(ModelError, match="site 'x' stands in a plate that takes some of its members alone"):
            ask(pair, x, num_samples=30)
    for name in ("iwae", "cubo", "gdreg", "tvo", "vimco"):
        with pytest.raises(ModelError, match=r"site .x. stands in a plate .* of several weights, is no bound"):
            inf.get_elbo(name, num_particles=3).per_datum(*pair, x)
