import math

import numpy as np
import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.inference.pair import evaluation
from ppl_vae.inference.pair.evaluation import Evaluation
from tests.inference.small_runs import D, N, small_data, small_vae, weight_bytes
from tests.scenarios import draw_data, linear_gaussian


def exact_kl(lg, x):
    """KL(q(z|x) || N(0, I)) of a diagonal Gaussian, written out."""
    q = lg.encode(x)
    return 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)


@pytest.mark.slow
def test_terms_agree_with_the_closed_forms_of_the_linear_gaussian_model():
    lg = linear_gaussian()
    x = draw_data(lg, 200)
    found = pv.evaluate(lg, x, num_particles=50)
    with torch.no_grad():
        torch.testing.assert_close(found.kl, exact_kl(lg, x), rtol=1e-10, atol=1e-12)
        exact = lg.elbo(x)
        # The draws' own error: the log likelihood of one draw varies, the KL does not.
        draws = torch.stack([pv.evaluate(lg, x, seed=seed).elbo for seed in range(30)])
    error = found.elbo - exact
    stderr = (draws.var(0).mean() / 50 / len(x)).sqrt()
    assert abs(error.mean()) < 4 * stderr
    z = error / (draws.var(0) / 50).sqrt()
    assert abs(z.square().mean() - 1) < 0.6
    assert found.closed_form


def test_exact_posterior_has_the_evidence_as_its_elbo_in_the_mean():
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 100)
    found = pv.evaluate(lg, x, num_particles=400)
    with torch.no_grad():
        assert found.elbo.mean().item() == pytest.approx(lg.log_evidence(x).mean().item(), abs=0.05)


def test_summary_has_means_and_the_standard_error_of_the_mean():
    lg = linear_gaussian()
    found = pv.evaluate(lg, draw_data(lg, 40))
    values = found.elbo.numpy()
    assert found.summary() == pytest.approx(
        {
            "elbo": values.mean(),
            "elbo_stderr": values.std(ddof=1) / math.sqrt(40),
            "log_likelihood": found.log_likelihood.mean().item(),
            "kl": found.kl.mean().item(),
        }
    )
    assert found.elbo.shape == found.kl.shape == found.log_likelihood.shape == (40,)
    torch.testing.assert_close(found.elbo, found.log_likelihood - found.kl)


def test_the_standard_error_is_the_spread_of_the_mean_over_data_sets():
    lg = linear_gaussian()
    summaries = [pv.evaluate(lg, draw_data(lg, 50, seed=s), seed=s).summary() for s in range(120)]
    spread = np.std([s["elbo"] for s in summaries], ddof=1)
    claimed = np.mean([s["elbo_stderr"] for s in summaries])
    # The relative standard error of a standard deviation of 120 numbers is 6.5%.
    assert spread == pytest.approx(claimed, rel=0.27)


def test_one_datum_has_no_standard_error():
    summary = pv.evaluate(small_vae(), small_data(1)).summary()
    assert math.isnan(summary["elbo_stderr"])
    assert math.isfinite(summary["elbo"])


@pytest.mark.slow
def test_a_datum_does_not_depend_on_its_neighbours():
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 20)
    # The draws of neighbours differ, but the Gaussian KL has none, and means over draws must agree.
    alone = pv.evaluate(lg, x[3:4], num_particles=4000)
    among = pv.evaluate(lg, x, num_particles=4000)
    assert alone.kl.item() == pytest.approx(among.kl[3].item(), rel=1e-10)
    spread = torch.stack([pv.evaluate(lg, x[3:4], seed=s).elbo for s in range(100)]).std().item()
    assert abs(alone.elbo.item() - among.elbo[3].item()) < 4 * spread * math.sqrt(2 / 4000)


@pytest.mark.slow
@pytest.mark.parametrize("data_a_chunk", [1, 7, 100])
def test_chunks_change_the_draws_and_nothing_else(data_a_chunk, monkeypatch):
    lg = linear_gaussian()
    x = draw_data(lg, 101)
    whole = pv.evaluate(lg, x, num_particles=20)
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", data_a_chunk * 20 * x.shape[1])
    chunked = pv.evaluate(lg, x, num_particles=20)
    torch.testing.assert_close(chunked.kl, whole.kl, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        exact = lg.elbo(x).mean().item()
    draws = torch.stack([pv.evaluate(lg, x, seed=s).elbo for s in range(20)])
    stderr = (draws.var(0).mean() / 20 / len(x)).sqrt().item()
    assert abs(chunked.elbo.mean().item() - exact) < 4 * stderr
    assert chunked.elbo.shape == (101,)


def test_a_chunk_holds_no_more_numbers_than_allowed(monkeypatch):
    sizes, vae = [], small_vae()
    forward = vae.guide.forward
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", 8 * 3 * D + 1)
    monkeypatch.setattr(vae.guide, "forward", lambda x: (sizes.append(len(x)), forward(x))[1])
    pv.evaluate(vae, small_data(), num_particles=3)
    # First, hidden noise is looked for, and whether draws move each other's densities; after the first chunk, three
    # runs judge whether a datum's numbers depend on its place, or on its batch.
    assert sizes == [50] * 4 + [8] * 5 + [8] * 3 + [4] + [8] * 5 + [2]


def test_a_seed_gives_one_result_and_leaves_the_global_stream():
    vae, x = small_vae(), small_data()
    before = torch.get_rng_state()
    first = pv.evaluate(vae, x, seed=1)
    torch.manual_seed(77)
    again, other = pv.evaluate(vae, x, seed=1), pv.evaluate(vae, x, seed=2)
    assert torch.equal(first.elbo, again.elbo)
    assert not torch.equal(first.elbo, other.elbo)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)


def normed_vae():
    encoder = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5))
    return pv.VAE((D,), 2, network=(encoder, torch.nn.Linear(2, D)), likelihood="gaussian"), encoder


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_trains_nothing_and_restores_every_mode(training):
    vae, encoder = normed_vae()
    vae.train(training)
    encoder[2].train(not training)
    modes = [module.training for module in vae.modules()]
    before = weight_bytes(vae)
    pv.evaluate(vae, small_data())
    assert weight_bytes(vae) == before
    assert [module.training for module in vae.modules()] == modes
    assert all(p.grad is None for p in vae.parameters())


def test_evaluation_uses_no_dropout_and_the_running_statistics():
    vae, _ = normed_vae()
    vae.train()
    x = small_data()
    among, alone = pv.evaluate(vae, x), pv.evaluate(vae, x[:1])
    # In training mode the batch's own statistics and a random mask would be in both numbers.
    assert among.kl[0].item() == pytest.approx(alone.kl[0].item(), rel=1e-5)
    assert torch.equal(among.kl, pv.evaluate(vae, x, seed=5).kl)


def test_the_modes_come_back_after_an_error():
    vae = small_vae()
    vae.train()
    vae.model.decoder = torch.nn.Linear(2, D + 1)
    with pytest.raises(ModelError, match="site 'x'"):
        pv.evaluate(vae, small_data())
    assert all(module.training for module in vae.modules())


def test_arrays_and_other_precisions_are_taken():
    vae, x = small_vae(), small_data()
    expected = pv.evaluate(vae, x).elbo
    for other in (x.numpy(), x.double(), x.double().numpy()):
        assert torch.equal(pv.evaluate(vae, other).elbo, expected)


def test_a_whole_number_array_goes_through_a_pair_of_functions():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0).expand([len(x)]))
            pyro.sample("x", pyro.distributions.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(0.5 * x, 0.5**0.5))

    x = np.arange(4)
    found = pv.evaluate((model, guide), x).elbo
    exact = pyro.distributions.Normal(0.0, 2**0.5).log_prob(torch.arange(4.0)).mean()
    assert found.mean().item() == pytest.approx(exact.item(), abs=0.8)
    assert found.dtype == torch.float32


def test_a_full_covariance_guide_has_a_closed_form_and_a_mixture_prior_has_none():
    assert pv.evaluate(small_vae(posterior="full-covariance"), small_data()).closed_form

    class Mixture(torch.nn.Module):
        def forward(self):
            parts = torch.distributions.Categorical(torch.ones(3))
            normal = pyro.distributions.Normal(torch.zeros(3, 2), 1.0).to_event(1)
            return pyro.distributions.MixtureSameFamily(parts, normal)

    x = small_data()
    mixed, plain = (small_vae(prior=prior) for prior in (Mixture(), "standard"))
    mixed.load_state_dict(plain.state_dict())
    # Three equal components are the standard normal: the Monte-Carlo KL must come out as the closed form.
    found, exact = pv.evaluate(mixed, x, num_particles=500), pv.evaluate(plain, x)
    assert (found.closed_form, exact.closed_form) == (False, True)
    assert found.kl.mean().item() == pytest.approx(exact.kl.mean().item(), abs=0.05)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (torch.zeros(3, D + 1), {}, ModelError, r"expected data of shape \[N, 6\], got \[3, 7\]"),
        (torch.zeros(D), {}, ModelError, r"expected data of shape \[N, 6\], got \[6\]"),
        (torch.zeros(0, D), {}, DataError, "empty"),
        ("digits", {}, DataError, "array of numbers .*, found str"),
        (None, {}, DataError, "found NoneType"),
        ([["a"]], {}, DataError, "found str"),
        (torch.full((3, D), math.nan), {}, DataError, "NaN"),
        (torch.zeros(3, D), {"num_particles": 0}, ModelError, "num_particles must be"),
    ],
)
def test_bad_input_is_described(x, options, error, message):
    with pytest.raises(error, match=message):
        pv.evaluate(small_vae(), x, **options)


def test_grey_data_under_a_bernoulli_are_refused():
    with pytest.raises(DataError, match="binarize="):
        pv.evaluate(small_vae(likelihood="bernoulli"), torch.full((N, D), 0.5))


def test_a_model_that_is_no_number_is_not_evaluated():
    lg = pv.LinearGaussianVAE(torch.full((3, 1), torch.nan), torch.zeros(3), 1.0)
    with pytest.raises(ConvergenceError, match=r"datum 0: log p\(x\|z\) is NaN or infinite, as on 2 of 2 data"):
        pv.evaluate(lg, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("kind", "mean", "cover"), [("exponential", 1.0, 0.91), ("lognormal", math.exp(0.5), 0.86)]
)
def test_the_stated_error_is_of_other_data_and_covers_as_it_says(kind, mean, cover):
    """Of 20 skewed data, two errors on either side: the figures of the docstring, to four standard errors."""
    rng, trials = np.random.default_rng(0), 4000
    hit = 0
    for draws in torch.from_numpy(getattr(rng, kind)(size=(trials, 20))):
        found = Evaluation(draws, draws, draws, True, 1).summary()
        hit += abs(found["elbo"] - mean) < 2 * found["elbo_stderr"]
    assert hit / trials == pytest.approx(cover, abs=4 * math.sqrt(cover * (1 - cover) / trials) + 0.005)


@pytest.mark.parametrize("num_particles", [0, 1.5, "3", None])
def test_a_number_of_draws_that_is_none_is_refused(num_particles):
    lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    with pytest.raises(ModelError, match="num_particles must be an integer of at least 1"):
        pv.evaluate(lg, torch.zeros(2, 3), num_particles=num_particles)
