"""The linear-Gaussian annealing path in closed form (KNOWLEDGE 0.6), by sums over matrices alone.

From the prior, pi_b has precision I + b A and mean (I + b A)^-1 b h. From a guide N(m0, S), precision
(1 - b) S^-1 + b M and mean precision^-1 ((1 - b) S^-1 m0 + b h). E_b[log r] is the mean of a quadratic.
"""

import math

import torch

from ppl_vae.inference.evidence.hmc import state_at


class ExactPath:
    """pi_b of a LinearGaussianVAE on x [N, D], with draws and expectations."""

    def __init__(self, lg, x, start="prior"):
        weight, sigma = lg.weight.detach(), lg.sigma.detach()
        self.residual, self.weight, self.sigma = x - lg.bias.detach(), weight, sigma
        self.likelihood_precision = weight.mT @ weight / sigma**2
        self.shift = self.residual @ weight / sigma**2
        dim = weight.shape[1]
        if start == "prior":
            self.precision0, self.mean0 = torch.eye(dim, dtype=x.dtype), x.new_zeros(len(x), dim)
        else:
            q = lg.encode(x)
            self.precision0 = torch.diag(1 / q.variance[0].detach())
            self.mean0 = q.mean.detach()

    def moments(self, beta):
        """Mean [N, L] and covariance [L, L] of pi_b."""
        posterior = torch.eye(len(self.likelihood_precision), dtype=self.shift.dtype) + self.likelihood_precision
        covariance = torch.linalg.inv((1 - beta) * self.precision0 + beta * posterior)
        return ((1 - beta) * self.mean0 @ self.precision0 + beta * self.shift) @ covariance, covariance

    def draw(self, beta, num_chains, generator):
        mean, covariance = self.moments(beta)
        noise = torch.randn(num_chains, *mean.shape, dtype=mean.dtype, generator=generator)
        return mean + noise @ torch.linalg.cholesky(covariance).mT

    def expected_log_ratio(self, beta):
        """E_b[log r]: [N], log r = log p(x|z) + log p(z) - log f_0(z)."""
        mean, covariance = self.moments(beta)
        fit = self.residual - mean @ self.weight.mT
        spread = torch.trace(self.likelihood_precision @ covariance)
        data_dim = len(self.weight)
        log_likelihood = -0.5 * (
            data_dim * torch.log(2 * math.pi * self.sigma**2) + fit.square().sum(-1) / self.sigma**2 + spread
        )
        log_prior = -0.5 * (mean.square().sum(-1) + torch.trace(covariance))
        off = mean - self.mean0
        quadratic = ((off @ self.precision0) * off).sum(-1) + torch.trace(self.precision0 @ covariance)
        # Both normal densities have the same d/2 log 2 pi.
        return log_likelihood + log_prior + 0.5 * quadratic - 0.5 * torch.logdet(self.precision0)

    def transition(self, path, num_chains, generator):
        """Draws from pi_b that forget where they came from, with densities of ``path``."""
        return lambda state, beta: state_at(path, self.draw(beta, num_chains, generator))
