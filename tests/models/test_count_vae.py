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
