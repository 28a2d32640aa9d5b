"""The short densities against the distributions' own, in float64, and where they step aside."""

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from scipy import stats

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_collapse
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.densities import log_density
from ppl_vae.recording import record

K, N, D = 4, 6, 3


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


DISTRIBUTIONS = {
    "its own scale everywhere": lambda: dist.Normal(drawn(K, N, D), drawn(K, N, D).exp()).to_event(1),
    "repeated over particles": lambda: dist.Normal(drawn(N, D), drawn(N, D).exp()).to_event(1).expand([K, N]),
    "one for all": lambda: dist.Normal(drawn(D), drawn(D).exp()).to_event(1).expand([K, N]),
    "one number for all": lambda: dist.Normal(drawn(1)[0], 0.3).expand([D]).to_event(1).expand([K, N]),
    "one scale": lambda: dist.Normal(drawn(K, N, D), drawn(1)[0].exp()).to_event(1),
    "two event dimensions": lambda: dist.Normal(drawn(K, N, D, 2), drawn(D, 1).exp()).to_event(2),
    "scalar events": lambda: dist.Normal(drawn(N), 2.0).expand([K, N]),
    "logits": lambda: dist.Bernoulli(logits=8 * drawn(K, N, D)).to_event(1),
    "probabilities": lambda: dist.Bernoulli(probs=drawn(K, N, D).sigmoid()).to_event(1),
    "repeated logits": lambda: dist.Bernoulli(logits=drawn(D)).to_event(1).expand([K, N]),
    "large logits": lambda: dist.Bernoulli(logits=100 * drawn(K, N, D)).to_event(1),
    "without a short one": lambda: dist.StudentT(3.0, drawn(K, N, D), 1.0).to_event(1),
}


@pytest.mark.parametrize("make", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize("observed", [False, True], ids=["of every particle", "of the data"])
def test_the_density_is_the_distributions_own(make, observed):
    with torch.no_grad(), pyro.validation_enabled(False):
        p = make()
        value = p.sample()[0] if observed else p.sample()
        found = log_density(p, value).expand(K, N)
        torch.testing.assert_close(found, p.log_prob(value), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(64,), (67,), (1, 28, 28), (4096,)])
@pytest.mark.parametrize("spread", [3.0, 30.0, 300.0])
def test_black_and_white_images_keep_their_digits_in_single_precision(shape, spread):
    """By products of probabilities, and by softplus where pixels are so badly off that a product would vanish."""
    logits = spread * drawn(K, N, *shape)
    x = (drawn(N, *shape) < 0).double()
    truth = stats.logistic.logcdf(((2 * x - 1) * logits.float().double()).numpy()).reshape(K, N, -1).sum(-1)
    with torch.no_grad(), pyro.validation_enabled(False):
        p = dist.Bernoulli(logits=logits.float()).to_event(len(shape))
        found = log_density(p, x.float())
        wrong = log_density(dist.Bernoulli(logits=logits.float() / 0).to_event(len(shape)), x.float())
    np.testing.assert_allclose(found.double(), truth, rtol=2e-6, atol=1e-4)
    assert not wrong.isfinite().any()


def test_saturated_images_lose_less_than_the_sum_of_their_pixels_does():
    """A probability near 1 is rounded, and a product once more; at the worst logit all 784 have one sign."""
    logits = torch.linspace(8, 20, 200)[:, None].expand(200, 784)
    truth = -784 * np.log1p(np.exp(-logits[:, 0].double().numpy()))
    with torch.no_grad(), pyro.validation_enabled(False):
        found = log_density(dist.Bernoulli(logits=logits).to_event(1), torch.ones(784))
    np.testing.assert_allclose(found.double(), truth, atol=784 * 2.0**-23, rtol=1e-5)


def test_no_digit_of_an_image_depends_on_another_image():
    """One of them is grey, and the pixels of another are so badly off that their product would vanish."""
    logits, x = 3 * drawn(K, N, 64).float(), (drawn(N, 64) < 0).float()
    x[1, 5] = 0.5
    logits[:, 2] = 30 * (1 - 2 * x[2])
    with torch.no_grad(), pyro.validation_enabled(False):
        p = dist.Bernoulli(logits=logits).to_event(1)
        together = log_density(p, x)
        alone = [log_density(dist.Bernoulli(logits=logits[:, n]).to_event(1), x[n]) for n in range(N)]
        expected = p.log_prob(x)
    assert torch.equal(together, torch.stack(alone, 1))
    np.testing.assert_allclose(together.double(), expected.double(), rtol=1e-6, atol=1e-5)


def test_images_can_be_recorded():
    logits, x = drawn(K, N, 64), (drawn(N, 64) < 0).double()
    with torch.no_grad(), pyro.validation_enabled(False):
        recording = record(lambda t: log_density(dist.Bernoulli(logits=t).to_event(1), x), logits)
        truth = dist.Bernoulli(logits=2 * logits).to_event(1).log_prob(x)
    torch.testing.assert_close(recording(2 * logits), truth)


def test_grey_pixels_have_the_cross_entropy():
    with torch.no_grad(), pyro.validation_enabled(False):
        p = dist.Bernoulli(logits=drawn(K, N, D)).to_event(1)
        grey = drawn(N, D).sigmoid()
        torch.testing.assert_close(log_density(p, grey), p.log_prob(grey), rtol=1e-12, atol=1e-12)


def test_nothing_that_it_reads_is_changed():
    with torch.no_grad(), pyro.validation_enabled(False):
        logits, loc, x = drawn(K, N, D), drawn(K, N, D), drawn(N, D)
        before = [t.clone() for t in (logits, loc, x)]
        log_density(dist.Bernoulli(logits=logits).to_event(1), x)
        log_density(dist.Normal(loc, 1.0).to_event(1), x)
    assert all(torch.equal(a, b) for a, b in zip(before, (logits, loc, x), strict=True))


def test_gradients_and_validation_are_left_to_the_distribution():
    loc = drawn(K, N, D).requires_grad_()
    x = drawn(N, D)
    p = dist.Normal(loc, 1.0).to_event(1)
    (gradient,) = torch.autograd.grad(log_density(p, x).sum(), loc)
    torch.testing.assert_close(gradient, x - loc.detach())
    with torch.no_grad(), pytest.raises(ValueError, match="within the support"):
        log_density(dist.Bernoulli(logits=drawn(N, D), validate_args=True).to_event(1), 3 + x.abs())


def test_a_subclass_keeps_its_own_density():
    class Half(dist.Normal):
        def log_prob(self, value):
            return 0.5 * super().log_prob(value)

    with torch.no_grad(), pyro.validation_enabled(False):
        p, x = Half(drawn(N), 1.0), drawn(N)
        assert torch.equal(log_density(p, x), p.log_prob(x))


# Parameters and values that single precision holds exactly, and the family in scipy.
LARGE = 10_000_000.0
CANCELLING = {
    "poisson": (lambda: dist.Poisson(single(LARGE)), LARGE + 1000, stats.poisson(LARGE)),
    "negative binomial": (
        lambda: dist.NegativeBinomial(single(2.0**20), logits=single(2.0)), 7_000_000.0,
        stats.nbinom(2.0**20, 1 / (1 + np.exp(2.0))),
    ),
    "gamma-poisson": (
        lambda: dist.GammaPoisson(single(4096.0), single(2.0**-11)), LARGE, stats.nbinom(4096, 1 / (1 + 2.0**11)),
    ),
    "binomial": (
        lambda: dist.Binomial(single(LARGE), logits=single(0.0)), LARGE / 2 + 500, stats.binom(LARGE, 0.5)
    ),
    "beta-binomial": (
        lambda: dist.BetaBinomial(single(4096.0), single(4096.0), single(LARGE)), LARGE / 2,
        stats.betabinom(LARGE, 4096, 4096),
    ),
    "gamma": (lambda: dist.Gamma(single(LARGE), single(1.0)), LARGE + 512, stats.gamma(LARGE)),
    "beta": (lambda: dist.Beta(single(LARGE), single(LARGE)), 0.5, stats.beta(LARGE, LARGE)),
    "student": (lambda: dist.StudentT(single(LARGE), single(0.0), single(1.0)), 1.5, stats.t(LARGE)),
    "inverse gamma": (
        lambda: dist.InverseGamma(single(LARGE), single(LARGE)), 1.0, stats.invgamma(LARGE, scale=LARGE)
    ),
    "chi-squared": (lambda: dist.Chi2(single(LARGE)), LARGE + 512, stats.chi2(LARGE)),
    "f": (lambda: dist.FisherSnedecor(single(LARGE), single(LARGE)), 1.0, stats.f(LARGE, LARGE)),
    "von mises": (lambda: dist.VonMises(single(0.0), single(LARGE)), 2.0**-12, stats.vonmises(LARGE)),
}  # fmt: skip


def single(number):
    return torch.tensor(number, dtype=torch.float32)


def test_so_do_counts_of_several_kinds_and_with_more_zeros():
    """A Dirichlet-multinomial next to its multinomial came out as 0 in place of -2.46 nats."""
    share = np.array([0.25, 0.25, 0.5])
    polya = dist.DirichletMultinomial(single(LARGE) * torch.tensor(share).float(), single(10.0))
    counts = dist.Multinomial(10_000_000, logits=torch.tensor(share).log().float())
    few, many = np.array([2, 3, 5]), np.array([2_500_500, 2_499_500, 5_000_000])
    poisson = stats.poisson(LARGE).logpmf(LARGE)
    for p, value, exact in (
        (polya, few, stats.dirichlet_multinomial(LARGE * share, 10).logpmf(few)),
        (counts, many, stats.multinomial(10_000_000, share).logpmf(many)),
        (dist.ZeroInflatedPoisson(single(LARGE), gate=single(0.25)), LARGE, np.log(0.75) + poisson),
        (dist.ZeroInflatedPoisson(single(LARGE), gate=single(0.25)), 0.0, np.log(0.25)),
        (
            dist.ZeroInflatedNegativeBinomial(single(2.0**20), logits=single(2.0), gate=single(0.25)),
            7_000_000.0,
            np.log(0.75) + stats.nbinom(2.0**20, 1 / (1 + np.exp(2.0))).logpmf(7_000_000),
        ),
    ):
        found = log_density(p.expand([3]), torch.as_tensor(value).float())
        assert found.dtype == torch.float32
        assert found.sub(float(exact)).abs().max() < 2e-4 * max(1, abs(exact))


@pytest.mark.parametrize("name", CANCELLING)
def test_large_terms_that_cancel_leave_their_digits(name):
    make, value, reference = CANCELLING[name]
    exact = reference.logpmf(value) if hasattr(reference.dist, "logpmf") else reference.logpdf(value)
    kept = torch.tensor([True, False])
    for gradients in (torch.no_grad, torch.enable_grad):
        with gradients():
            found = log_density(make().expand([3, 2]).mask(kept).to_event(1), single(value).expand(3, 2))
            assert found.dtype == torch.float32
            assert found.shape == (3,)
            assert found.sub(exact).abs().max() < 2e-4 * max(1, abs(exact))


def test_counts_of_millions_have_their_evidence_in_single_precision():
    """rate ~ Gamma(2, b), x ~ Poisson(rate): p(x) is negative binomial, the posterior Gamma(2 + x, 1 + b)."""
    x = torch.tensor([9_000_000.0, 1_234_567.0, 40_000.0, 3.0])

    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 2.0**-20))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(2.0 + x, 1.0 + 2.0**-20))

    b = 2.0**-20
    exact = stats.nbinom(2, b / (1 + b)).logpmf(x.double().numpy())
    found = pv.log_evidence((model, guide), x, num_samples=100)
    assert np.abs(found.per_datum.numpy() - exact).max() < 1e-4
    assert found.per_datum_stderr.max() < 1e-5


@pytest.mark.parametrize("p", [dist.Normal(0.0, 1.0), dist.Bernoulli(0.3), dist.Poisson(2.0)])
def test_one_observed_value_for_all_data_counts_for_each(p):
    """It was refused for the shape [1, 1] of a density that had lost its repetitions."""
    x = torch.linspace(-1.0, 1.0, 5)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("one", p, obs=torch.tensor(1.0))

    def posterior(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    exact = dist.Normal(0.0, 2**0.5).log_prob(x) + p.log_prob(torch.tensor(1.0))
    for num_samples in (2, 5):
        found = pv.log_evidence((model, posterior), x, num_samples=num_samples).per_datum
        assert torch.allclose(found.float(), exact, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_densities_in_half_precision_are_refused_by_site(dtype):
    class Pair(torch.nn.Module):
        def __init__(self, single):
            super().__init__()
            self.single, self.decoder = single, torch.nn.Linear(2, 8)

        def model(self, x):
            kept = torch.float32 if self.single else x.dtype
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=kept), 1.0).to_event(1))
                logits = self.decoder(z.to(dtype)).to(kept)
                pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

        def guide(self, x):
            kept = torch.float32 if self.single else x.dtype
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x[:, :2].to(kept), 1.0 * torch.ones(2, dtype=kept)).to_event(1))

    x = torch.eye(8)[:5]
    half = Pair(single=False).to(dtype)
    kind = str(dtype).removeprefix("torch.")
    for ask in (inf.evaluate, inf.log_evidence, run_collapse):
        with pytest.raises(ModelError, match=rf"site 'z': .* is computed in {kind}"):
            ask((half.model, half.guide), x)
    widened = Pair(single=True).to(dtype)
    assert inf.evaluate((widened.model, widened.guide), x).elbo.dtype == torch.float32
