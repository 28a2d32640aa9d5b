"""Counts whose law is known, as of single cells: kinds, experiments, library sizes; log p(x) by quadrature."""

import numpy as np
import pytest
import torch
from scipy import special, stats

import ppl_vae as pv
from ppl_vae.models import CountVAE

GENES, KINDS, EXPERIMENTS, HELD_OUT = 12, 3, 2, 500
DISPERSION, LOG_SIZE, SPREAD = 2.0, 6.0, 0.5


def shares():
    """What each gene has of a cell [K, B, G], by its kind and experiment."""
    random = np.random.default_rng(0)
    profiles = random.dirichlet(np.ones(GENES), KINDS) + 1e-3
    effects = np.exp(0.5 * random.standard_normal((EXPERIMENTS, GENES)))
    share = profiles[:, None] * effects
    return share / share.sum(-1, keepdims=True)


def cells(number, share):
    random = np.random.default_rng(1)
    kind, batch = random.integers(0, KINDS, number), random.integers(0, EXPERIMENTS, number)
    mean = np.exp(random.normal(LOG_SIZE, SPREAD, (number, 1))) * share[kind, batch]
    return random.poisson(random.gamma(DISPERSION, mean / DISPERSION)), batch


def known(x, batch, share):
    """log p(x | batch), and the mean and standard deviation of the log library size given x, by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    sizes = LOG_SIZE + SPREAD * nodes
    mean = np.exp(sizes)[:, None] * share[:, batch].swapaxes(0, 1)[:, :, None]
    parts = stats.nbinom(DISPERSION, DISPERSION / (DISPERSION + mean)).logpmf(x[:, None, None]).sum(-1)
    parts = parts + np.log(weights / weights.sum()) - np.log(KINDS)
    total = special.logsumexp(parts, axis=(1, 2))
    posterior = np.exp(parts - total[:, None, None]).sum(1)
    centre = posterior @ sizes
    return total, centre, np.sqrt(posterior @ sizes**2 - centre**2)


@pytest.mark.slow
def test_counts_with_size_factors_and_experiments_come_near_their_law():
    share = shares()
    x, batch = cells(3000 + HELD_OUT, share)
    law, size, spread = known(x[-HELD_OUT:], batch[-HELD_OUT:], share)
    counts, experiment = torch.tensor(x, dtype=torch.float32), torch.tensor(batch)
    held = counts[-HELD_OUT:], experiment[-HELD_OUT:]
    vae = CountVAE(
        (GENES,), 2, "latent", network=pv.networks.MLP((64,)), likelihood="negative-binomial",
        batches=EXPERIMENTS, seed=0,
    )  # fmt: skip
    train = counts[:-HELD_OUT], experiment[:-HELD_OUT]
    untrained = pv.evaluate(vae, held).elbo.numpy()
    pv.fit(vae, train, epochs=40, batch_size=100, lr=5e-3, progress=False, seed=0)
    missing = law - pv.evaluate(vae, held, num_particles=20).elbo.numpy()
    error = missing.std() / len(missing) ** 0.5
    # No model is better than the law by more than chance, and of some twenty-five nats one and a half are left.
    assert -3 * error < missing.mean() < 1.5
    assert (law - untrained).mean() > 20
    q = vae.guide.library(held[0])
    off = q.mean.squeeze(-1).detach().numpy() - size
    # The library size is as uncertain as it is by the law, and found to within that.
    assert np.sqrt((off**2).mean()) < spread.mean()
    assert q.stddev.mean().item() == pytest.approx(spread.mean(), rel=0.15)
