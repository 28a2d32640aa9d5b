#!/usr/bin/env bash
# The Gaussian decoder of normflows takes the normalising constant of the latent's dimension, not of the data's.
#
# The guess, before the run: NNDiagGaussianDecoder.log_prob(x, z) is the log density of N(mean, var) at x, summed over
#   the coordinates of x, as the library's encoder and its Bernoulli decoder agree with torch's distributions.
# What was seen: it is too high by (D - d) / 2 * log(2 pi) for D data and d latent dimensions: 2.76 nats for D=5, d=2,
#   718.6 for D=784, d=2. exp(log_prob) integrates to (2 pi)^((D - d) / 2) over the data. Gradients are right.
# Why it matters: the ELBO of such a VAE, and the log-likelihood estimated from it, are off by hundreds of nats and
#   change with the latent dimension alone: a smaller d looks better by .92 nats a dimension. Two latent sizes, or
#   normflows and another library, cannot be compared.
# Versions: normflows 1.7.3, torch 2.13.0 (CPU build). Source: normflows/distributions/decoder.py, log_prob: the
#   constant is built from z.size().
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 normflows==1.7.3
"$work/venv/bin/python" -W ignore - <<'EOF'
import math

import normflows as nf
import torch
from torch.distributions import Normal

print("normflows 1.7.3, torch", torch.__version__)
for data_dim, latent_dim in ((5, 2), (784, 2), (784, 20)):
    torch.manual_seed(0)
    decoder = nf.distributions.NNDiagGaussianDecoder(torch.nn.Linear(latent_dim, 2 * data_dim))
    z, x = torch.randn(4, latent_dim), torch.randn(4, data_dim)
    with torch.no_grad():
        mean, std = decoder(z)
        expected = Normal(mean, std).log_prob(x).sum(-1)
        seen = decoder.log_prob(x, z)
    excess = (seen - expected).mean().item()
    predicted = (data_dim - latent_dim) / 2 * math.log(2 * math.pi)
    print(f"D={data_dim}, d={latent_dim}: expected {expected[0]:.2f}, seen {seen[0]:.2f}; "
          f"excess {excess:.2f}, (D - d) / 2 log(2 pi) = {predicted:.2f}")
    assert abs(excess - predicted) < 1e-2, "the behaviour has changed"

# The mass over one datum of one dimension, given a latent of three: (2 pi)^-1 instead of 1.
decoder = nf.distributions.NNDiagGaussianDecoder(torch.nn.Linear(3, 2))
grid = torch.linspace(-12, 12, 4001)[:, None]
with torch.no_grad():
    mass = torch.trapezoid(decoder.log_prob(grid, torch.zeros(4001, 3)).exp(), grid[:, 0]).item()
print(f"integral of the density over x for D=1, d=3: expected 1, seen {mass:.3f}")
assert abs(mass - 1 / (2 * math.pi)) < 1e-3, "the behaviour has changed"
EOF
