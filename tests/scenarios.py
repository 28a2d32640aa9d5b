r"""The few targets whose answers are known exactly, in float64.

``linear_gaussian`` is probabilistic PCA (everything in closed form, KNOWLEDGE 0.1). ``binary_mlp`` has a
two-dimensional code under a Bernoulli MLP: its integrals over z are tensor Gauss-Hermite sums, and its data
space is small enough to enumerate.
"""

import itertools

import numpy as np
import torch

import ppl_vae as pv
from ppl_vae.networks import MLP


def linear_gaussian(seed=0, data_dim=5, latent_dim=3, guide="mean-field"):
    """A random LinearGaussianVAE in float64: W with entries of N(0, 1), b of N(0, 1), sigma in [0.5, 1.5]."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(data_dim, latent_dim, generator=generator, dtype=torch.float64)
    bias = torch.randn(data_dim, generator=generator, dtype=torch.float64)
    sigma = 0.5 + torch.rand((), generator=generator, dtype=torch.float64).item()
    return pv.LinearGaussianVAE(weight, bias, sigma, guide=guide, seed=seed)


def draw_data(lg, n=7, seed=0):
    """Data [n, D] of a LinearGaussianVAE's own marginal N(b, W W' + sigma^2 I)."""
    generator = torch.Generator().manual_seed(seed + 1)
    z = torch.randn(n, lg.weight.shape[1], generator=generator, dtype=torch.float64)
    noise = torch.randn(n, lg.weight.shape[0], generator=generator, dtype=torch.float64)
    return (z @ lg.weight.mT + lg.bias + lg.sigma * noise).detach()


def binary_mlp(seed=0, data_dim=6, hidden=5, gain=3.0):
    """A VAE of binary data [data_dim] with a 2-d code, in float64.

    The decoder's output weights are multiplied by ``gain`` so that p(z|x) is visibly not the prior, nor a
    Gaussian; the hidden ones are not, and the guide's scales are kept near one, because steep units and
    narrow guides cost the quadrature its digits.
    """
    vae = pv.VAE((data_dim,), 2, network=MLP((hidden,), "tanh"), likelihood="bernoulli", seed=seed).double()
    with torch.no_grad():
        vae.model.decoder[-1].weight.mul_(gain)
        for parameter in vae.guide.posterior.scale_head.parameters():
            parameter.mul_(0.3)
    return vae


def all_binary(data_dim=6):
    """Every binary datum: [2^data_dim, data_dim]."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=data_dim)), dtype=torch.float64)


def standard_normal_nodes(order=64):
    """Nodes [order^2, 2] and log weights [order^2] of a quadrature under N(0, I_2)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    t, log_w = torch.from_numpy(nodes), torch.from_numpy(np.log(weights / weights.sum()))
    grid = torch.cartesian_prod(t, t)
    return grid, (log_w[:, None] + log_w).flatten()


@torch.no_grad()
def quadrature_evidence(vae, x, order=64):
    """log p(x) [N] of a VAE with a 2-d code, by a quadrature centred on its guide."""
    grid, log_w = standard_normal_nodes(order)
    q = vae.encode(x)
    z = q.mean[:, None] + q.stddev[:, None] * grid
    log_joint = _log_likelihood(vae, z, x) + vae.model.prior().log_prob(z)
    return torch.logsumexp(log_w + log_joint - vae_log_guide(q, z), dim=1)


@torch.no_grad()
def quadrature_evidence_from_prior(vae, x, order=128):
    """log p(x) [N] by a quadrature centred on the prior: the same number by another road."""
    grid, log_w = standard_normal_nodes(order)
    z = grid.expand(len(x), *grid.shape)
    return torch.logsumexp(log_w + _log_likelihood(vae, z, x), dim=1)


@torch.no_grad()
def quadrature_elbo(vae, x, order=64):
    """The ELBO of a diagonal guide [N]: E_q log p(x|z) by quadrature, the KL written out."""
    grid, log_w = standard_normal_nodes(order)
    q = vae.encode(x)
    z = q.mean[:, None] + q.stddev[:, None] * grid
    expected = (log_w.exp() * _log_likelihood(vae, z, x)).sum(1)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    return expected - kl


@torch.no_grad()
def quadrature_posterior_mean(vae, x, order=64):
    """The mean of p(z|x): [N, 2]."""
    grid, log_w = standard_normal_nodes(order)
    q = vae.encode(x)
    z = q.mean[:, None] + q.stddev[:, None] * grid
    log_joint = _log_likelihood(vae, z, x) + vae.model.prior().log_prob(z)
    share = torch.softmax(log_w + log_joint - vae_log_guide(q, z), dim=1)
    return (share[..., None] * z).sum(1)


def vae_log_guide(q, z):
    """log q(z_nm | x_n) [N, M] of a diagonal guide at nodes z [N, M, 2], written out."""
    scaled = (z - q.mean[:, None]) / q.stddev[:, None]
    return -(0.5 * scaled.square() + q.stddev[:, None].log() + 0.5 * np.log(2 * np.pi)).sum(-1)


def _log_likelihood(vae, z, x):
    """Log p(x_n | z_nm) [N, M], the Bernoulli written out on the decoder's logits."""
    logits = vae.model.decoder(z.flatten(0, 1)).reshape(*z.shape[:2], -1)
    return -torch.nn.functional.softplus(torch.where(x[:, None] > 0.5, -logits, logits)).sum(-1)
