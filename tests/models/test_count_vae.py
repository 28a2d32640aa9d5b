"""Counts with size factors: means sum to the library size, and a latent one is recovered."""

import numpy as np
import pytest
import torch
from scipy import stats

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models import CountVAE


def cells(n=300, genes=12, seed=0):
    """Counts [n, genes] of two kinds of cells, and their library sizes from 50 to 5000."""
    random = np.random.default_rng(seed)
    profiles = random.dirichlet(np.full(genes, 2.0), size=2)
    library = np.exp(random.uniform(np.log(50), np.log(5000), n))
    counts = random.poisson(library[:, None] * profiles[random.integers(0, 2, n)])
    return torch.tensor(counts, dtype=torch.float32), torch.tensor(library, dtype=torch.float32)


def small(library, likelihood="negative-binomial", seed=0):
    return CountVAE((12,), 2, library, network="linear", likelihood=likelihood, seed=seed)


@pytest.mark.parametrize("library", ["latent", "observed"])
def test_means_sum_to_the_library_size_and_densities_are_scipys(library):
    vae = small(library).double()
    x, sizes = (part.double()[:5] for part in cells())
    z = torch.randn(5, 2, dtype=torch.float64)
    p = vae.decode(z, sizes)
    assert p.mean.sum(-1).tolist() == pytest.approx(sizes.tolist(), rel=1e-12)
    rho = vae.model.decoder.decoder(z).softmax(-1)
    mean = (sizes[:, None] * rho).detach().numpy()
    expected = stats.nbinom(1.0, 1 / (1 + mean)).logpmf(x.numpy()).sum(-1)
    assert p.log_prob(x).tolist() == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["latent", "observed"])
@pytest.mark.parametrize("likelihood", ["poisson", "zero-inflated-negative-binomial"])
def test_it_trains_is_stored_and_has_an_evidence_above_its_bound(library, likelihood, tmp_path):
    x, sizes = cells(64)
    data = (x, sizes) if library == "observed" else x
    vae = small(library, likelihood)
    result = pv.fit(vae, data, epochs=2, lr=1e-2, progress=False)
    assert result.history["train_elbo"].iloc[-1] > result.history["train_elbo"].iloc[0]
    vae.save(tmp_path)
    told = pv.evaluate(vae, data).summary()
    assert pv.evaluate(pv.load(tmp_path), data).summary() == told
    evidence = pv.log_evidence(vae, data, num_samples=100, progress=False)
    assert evidence.mean > told["elbo"] - 3 * told["elbo_stderr"]
    drawn = vae.sample(4, with_noise=True, library=sizes[:4] if library == "observed" else None)
    vae.model.likelihood.check(drawn)


@pytest.mark.slow
def test_a_latent_library_size_is_recovered_within_the_error_of_the_counts():
    x, sizes = cells()
    vae = small("latent", "poisson")
    pv.fit(vae, x, epochs=60, batch_size=60, lr=1e-2, progress=False)
    q = vae.guide.library(x)
    error = (q.mean.squeeze(-1) - sizes.log()).detach()
    # A total of Poisson counts tells the log of its mean to 1 / sqrt(mean).
    standard = (error * sizes.sqrt()).square().mean().sqrt().item()
    assert standard < 1.5
    assert abs(error.mean().item()) < 0.02
    assert vae.model.library_loc.item() == pytest.approx(sizes.log().mean().item(), abs=0.05)


def test_what_is_no_library_is_refused():
    x, sizes = cells(20)
    vae = small("observed")
    with pytest.raises(ModelError, match="'library'"):
        pv.evaluate(vae, x)
    with pytest.raises(DataError, match="library: expected sizes above 0"):
        pv.fit(vae, (x, sizes - sizes), epochs=1, progress=False)
    with pytest.raises(ModelError, match="needs 'library'"):
        vae.sample(3)
    with pytest.raises(ModelError, match="unknown library 'known'"):
        small("known")
    with pytest.raises(ModelError, match="likelihood 'gaussian' has none"):
        small("latent", "gaussian")


@pytest.mark.parametrize("library", ["latent", "observed"])
def test_the_experiment_moves_the_means_as_the_decoder_says_and_not_their_sum(library, tmp_path):
    vae = CountVAE((12,), 2, library, network="linear", likelihood="poisson", batches=3).double()
    x, sizes = (part.double()[:6] for part in cells())
    batch, z = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 2, dtype=torch.float64)
    p = vae.decode(z, sizes, batch)
    rho = vae.model.decoder.decoder(torch.cat([z, torch.eye(3, dtype=torch.float64)[batch]], 1)).softmax(-1)
    expected = stats.poisson((sizes[:, None] * rho).detach().numpy()).logpmf(x.numpy()).sum(-1)
    assert p.log_prob(x).tolist() == pytest.approx(expected.tolist(), rel=1e-9)
    assert p.mean.sum(-1).tolist() == pytest.approx(sizes.tolist(), rel=1e-12)
    assert not torch.allclose(p.mean, vae.decode(z, sizes, batch.flip(0)).mean)
    data = {"x": x, "batch": batch, **({"library": sizes} if library == "observed" else {})}
    vae.save(tmp_path)
    assert pv.evaluate(pv.load(tmp_path), data).summary() == pv.evaluate(vae, data).summary()
    assert vae.sample(6, library=sizes if library == "observed" else None, batch=batch).shape == (6, 12)


@pytest.mark.slow
def test_codes_need_not_tell_the_experiment():
    """Two experiments whose rates differ gene by gene: given it, the bound is better by more than its error."""
    generator = torch.Generator().manual_seed(0)
    profiles = torch.distributions.Dirichlet(torch.ones(12)).sample((2,))
    batch = torch.arange(400) % 2
    x = torch.poisson(200.0 * profiles[batch], generator=generator)
    told = CountVAE((12,), 1, network="linear", likelihood="poisson", batches=2)
    untold = CountVAE((12,), 1, network="linear", likelihood="poisson")
    settings = {"epochs": 40, "batch_size": 50, "lr": 2e-2, "progress": False}
    pv.fit(told, (x, batch), **settings)
    pv.fit(untold, x, **settings)
    gain = (pv.evaluate(told, (x, batch)).elbo - pv.evaluate(untold, x).elbo).double()
    # Nothing but the experiment differs between data, so that log 2 nats of KL can be saved, or more.
    assert gain.mean() > 0.3 + 3 * gain.std() / len(gain) ** 0.5


def test_an_experiment_that_is_none_is_refused():
    x, sizes = cells(20)
    vae = CountVAE((12,), 2, "observed", network="linear", likelihood="poisson", batches=2)
    with pytest.raises(ModelError, match="'batch'"):
        pv.evaluate(vae, (x, sizes))
    with pytest.raises((DataError, ModelError), match="batch"):
        pv.evaluate(vae, (x, sizes, torch.full((20,), 2)))
    with pytest.raises(ModelError, match="batch"):
        vae.sample(3, library=sizes[:3])
