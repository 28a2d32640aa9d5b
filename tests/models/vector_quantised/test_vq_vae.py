"""The vector-quantised program: its bound against the sum over all codes, its draws, and what it refuses."""

import itertools
import math

import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import VQVAE
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_mean

SHAPE, CELLS, CODES, DIM = (5,), 2, 3, 2


def small(seed=0, **options):
    """In float64, away from the small initial weights."""
    vae = VQVAE(SHAPE, CELLS, CODES, DIM, network=MLP((4,), "tanh"), seed=seed, **options).double().eval()
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.6 * torch.randn(parameter.shape, generator=noise, dtype=torch.float64))
    return vae


def binary(n=6):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round().double()


def every_grid():
    return torch.tensor(list(itertools.product(range(CODES), repeat=CELLS)))


def log_joint(vae, x):
    """log p(x, k) of all K^M grids, decoder and likelihood written out: [K^M, N]."""
    grids = every_grid()
    logits = vae.model.decoder(vae.codebook.code[grids].flatten(1))
    log_likelihood = -nn.functional.softplus((1 - 2 * x) * logits[:, None]).sum(-1)
    if vae.model.prior.name == "uniform":
        return log_likelihood - CELLS * math.log(CODES)
    return log_likelihood + vae.log_prior(grids)[:, None]


def place(k):
    return (k * torch.tensor([CODES, 1])).sum(-1)


@pytest.mark.parametrize("prior", ["uniform", "autoregressive"])
def test_the_elbo_is_the_joint_at_the_nearest_codes_and_bounds_the_sum_over_all(prior):
    """log p(x) - ELBO = -log p(k(x) | x), by enumeration of 9 grids; the KL is M log K, or -log p(k)."""
    vae, x = small(prior=prior), binary()
    joint = log_joint(vae, x).detach()
    k = vae.codes(x)
    by_hand = (vae.encode(x).encoded[:, :, None] - vae.codebook.code).square().sum(-1).argmin(-1)
    assert torch.equal(k, by_hand)
    found = pv.evaluate(vae, x)
    assert found.is_bound
    assert found.closed_form
    torch.testing.assert_close(found.elbo, joint.gather(0, place(k)[None])[0])
    evidence = joint.logsumexp(0)
    assert (evidence - found.elbo > 0.01).all()
    posterior = joint.softmax(0).gather(0, place(k)[None])[0]
    torch.testing.assert_close(evidence - found.elbo, -posterior.log())
    wanted = -vae.log_prior(k).detach() if prior == "autoregressive" else torch.full((6,), 2 * math.log(3)).double()
    torch.testing.assert_close(found.kl, wanted)
    monte_carlo = inf.MonteCarloKL(3).per_datum(vae.model, vae.guide, x)
    torch.testing.assert_close(monte_carlo.detach(), found.elbo)


@pytest.mark.slow
def test_draws_from_a_one_hot_guide_do_not_close_the_gap_and_those_of_a_softened_one_do():
    """The first has no evidence but the bound; the second is log p(x) of 9 grids within 4 standard errors."""
    vae, x = small(), binary()
    exact = log_joint(vae, x).logsumexp(0).detach()
    with pytest.raises(ModelError, match="all weights are equal and say nothing of the posterior or of log p"):
        pv.log_evidence(vae, x, num_samples=100)
    table = inf.compare_estimators(vae, x, ["monte-carlo-kl"], num_repeats=2, progress=False)
    assert math.isnan(table["bias_evidence"].item())
    assert "the guide has one value only" in table.attrs["evidence_reference"]
    soft = pv.log_evidence(vae.softened(50.0), x, num_samples=4000)
    assert soft.per_datum_stderr.max() < 0.05
    assert ((soft.per_datum - exact).abs() / soft.per_datum_stderr).max() < 4


def test_importance_weights_of_a_softened_guide_average_to_the_evidence():
    """sum_k q(k|x) p(x, k) / q(k|x) over all grids, every density by the programs; q sums to one."""
    vae, x = small(), binary()
    pair = vae.softened(0.7)
    z = vae.codebook.code[every_grid()][:, None].expand(-1, len(x), -1, -1)
    terms = inf.pair.joint.terms_at(*pair, x, {"z": z})
    torch.testing.assert_close(terms.log_guide.exp().sum(0), torch.ones(6, dtype=torch.float64))
    averaged = (terms.log_guide + terms.log_weight).logsumexp(0)
    torch.testing.assert_close(averaged, log_joint(vae, x).logsumexp(0))
    cold = inf.pair.joint.terms_at(*vae.softened(1e-4), x, {"z": z})
    assert torch.equal(cold.log_guide.argmax(0), place(vae.codes(x)))


def test_densities_are_masses_on_code_words_alone():
    vae, x = small(), binary()
    k = vae.codes(x)
    q, words = vae.encode(x), vae.codebook.code[k]
    assert q.log_prob(words).tolist() == [0.0] * 6
    other = vae.codebook.code[(k + 1) % CODES]
    assert q.log_prob(other).tolist() == [-math.inf] * 6
    terms = inf.trace_terms(vae.model, vae.guide, x)
    p = terms.sites["z"].p
    torch.testing.assert_close(p.log_prob(words), vae.log_prior(k))
    assert p.log_prob(words + 1e-6).tolist() == [-math.inf] * 6
    assert p.support.check(words).all()
    assert not p.support.check(words + 1e-6).any()
    assert p.support.is_discrete
    assert torch.equal(q.mean, words)
    assert q.variance.abs().max() == 0
    assert q.entropy().tolist() == [0.0] * 6


@pytest.mark.slow
def test_prior_draws_are_decoded_code_words_with_the_priors_masses():
    """x of 4000 draws: the mean of each pixel is that of p(x), by enumeration, within 4 standard errors."""
    vae = small()
    grids = every_grid()
    mass = vae.log_prior(grids).exp().detach()
    means = vae.decode(grids).mean.detach()
    drawn = vae.sample(4000)
    distances = torch.cdist(drawn, means).amin(1)
    assert distances.max() < 1e-6
    for pixel in range(5):
        assert_mean(drawn[:, pixel], (mass * means[:, pixel]).sum().item())


def test_codes_are_decoded_as_indices_or_as_words():
    vae, x = small(), binary()
    k = vae.codes(x)
    by_index = vae.decode(k).mean
    torch.testing.assert_close(by_index, vae.decode(vae.codebook.code[k]).mean, rtol=0, atol=0)
    torch.testing.assert_close(by_index.detach(), vae.reconstruct(x), rtol=0, atol=0)
    torch.testing.assert_close(vae.decode(k.numpy()).mean, by_index, rtol=0, atol=0)
    assert vae.decode(k.expand(3, 6, CELLS)).batch_shape == (3, 6)


def test_perplexity_of_data():
    vae, x = small(), binary(40)
    use = vae.codes(x).flatten().bincount(minlength=CODES) / 80
    wanted = torch.special.entr(use).sum().exp().item()
    assert vae.perplexity(x) == pytest.approx(wanted, rel=1e-6)
    assert 1 < wanted <= CODES


def test_save_and_load_keep_the_codes_and_how_they_learn(tmp_path):
    vae = small(codebook={"learning": "ema", "decay": 0.9, "revive_below": 0.2})
    vae.codebook.train().follow(torch.randn(20, DIM).double(), torch.arange(20) % 2)
    vae.save(tmp_path / "model")
    loaded = pv.load(tmp_path / "model")
    assert repr(loaded.codebook) == repr(vae.codebook)
    assert loaded.codebook.decay == 0.9
    for name in ("code", "count", "total"):
        assert torch.equal(getattr(loaded.codebook, name), getattr(vae.codebook, name)), name


def test_a_prior_of_the_users_own():
    class Marginals(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.randn(CELLS, CODES))

        def forward(self):
            return dist.Categorical(logits=self.logits).to_event(1)

    vae, x = small(prior=Marginals()), binary()
    assert vae.config["prior"] is None
    log_mass = vae.model.prior.logits.log_softmax(-1)
    k = vae.codes(x)
    wanted = log_mass[0, k[:, 0]] + log_mass[1, k[:, 1]]
    torch.testing.assert_close(pv.evaluate(vae, x).kl, -wanted.detach())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VQVAE(SHAPE, 0), "num_cells must be an integer of at least 1, got 0"),
        (lambda: VQVAE(SHAPE, 2, 1), "num_codes must be an integer of at least 2, got 1"),
        (lambda: VQVAE(SHAPE, 2, 4, 0), "code_dim must be an integer of at least 1, got 0"),
        (lambda: VQVAE(SHAPE, codebook="gradients"), "unknown learning 'gradients'; did you mean 'gradient'"),
        (lambda: VQVAE(SHAPE, codebook={"decays": 0.9}), "codebook: .*'decays'"),
        (lambda: VQVAE(SHAPE, prior="standard"), "unknown prior 'standard'"),
        (
            lambda: small().decode(torch.zeros(4, 3, DIM)),
            r"code words of shape \[N, 2, 2\] or integers of shape \[N, 2",
        ),
        (lambda: small().decode(torch.tensor([[0, 3]])), "site 'z': expected codes 0, ..., 2, got 0 to 3"),
        (lambda: small().log_prior(torch.zeros(4, 2)), r"expected integers of shape \[N, 2\], got torch.float32"),
        (lambda: small().softened(0.0), "temperature must be positive and finite, got 0.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_equal_weights_of_a_guide_of_one_value_are_not_taken_for_the_posterior():
    vae = pv.make("vq-vae", (1, 8, 8), seed=0).vae
    x = torch.rand(6, 1, 8, 8).round()
    with pytest.raises(ModelError, match="the guide has one value only"):
        pv.diagnostics.run_importance(vae, x, num_samples=25)
    assert not pv.inference_data(vae, x, num_samples=30)["sample_stats"]["exact"].any()
