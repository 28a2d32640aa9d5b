r"""The gated transition of the deep Markov model (Krishnan, Shalit & Sontag 2017).

    g = sigmoid(W2 relu(W1 z + b1) + b2)                       how far the step is from linear, by coordinate
    h = W4 relu(W3 z + b3) + b4                                the step where it is not
    p(z_t | z_t-1 = z) = N((1 - g) (W5 z + b5) + g h, diag softplus(W6 relu(h) + b6))

W5 starts as the identity and b5 at 0, so that a coordinate may begin by staying where it is.

Krishnan, Shalit & Sontag (2017): https://arxiv.org/abs/1609.09869
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.precision import fed, positive_variance, widened


class GatedTransition(nn.Module):
    """The transition p(z_t | z_t-1), a diagonal Gaussian.

    Args:
        latent_dim: L.
        hidden: the units of the two hidden layers.
    """

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, latent_dim))
        self.proposal = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, latent_dim))
        self.linear = nn.Linear(latent_dim, latent_dim)
        self.variance_head = nn.Linear(latent_dim, latent_dim)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """The transition p(z_t | z_t-1) from z_t-1 [*batch, L]: batch shape [*batch], event shape [L]."""
        z = fed(self.linear, z)
        gate, proposal = torch.sigmoid(self.gate(z)), self.proposal(z)
        loc = widened(torch.lerp(self.linear(z), proposal, gate))
        variance = positive_variance(widened(self.variance_head(proposal.relu())))
        return dist.Normal(loc, variance.sqrt()).to_event(1)
