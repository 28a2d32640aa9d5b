#!/usr/bin/env bash
# GaussianPCA of normflows has a log_prob that is no density, is not maximised by the truth, and draws without noise.
#
# The guess, before the run: log_prob is that of N(loc, W'W + sigma^2 I), probabilistic PCA's, and integrates to 1.
# What was seen: the determinant stands where its logarithm belongs and the constant has the wrong sign. The mass over
#   the plane is 39.5 * sqrt(det) * exp(-det / 2): 20.5 for W = (.8, -.6) and sigma = 1, .008 for sigma = 2. For
#   data of standard deviation 3 the best sigma is 1.44 instead of 3. Draws lack the noise: their covariance is
#   W'W alone, so singular where the latent dimension is smaller; forward's log_prob repeats log_prob's error.
# Why it matters: the class offers itself as prior or base of a flow, and as probabilistic PCA beside a linear VAE.
#   Every ELBO and likelihood with it is wrong by an amount that depends on its parameters, and so are gradients.
# Versions: normflows 1.7.3, torch 2.13.0 (CPU build). Source: normflows/distributions/base.py, GaussianPCA.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 normflows==1.7.3
"$work/venv/bin/python" -W ignore - <<'EOF'
import math

import normflows as nf
import torch
from torch.distributions import MultivariateNormal

torch.manual_seed(0)
print("normflows 1.7.3, torch", torch.__version__)


def pca(weights, sigma):
    base = nf.distributions.GaussianPCA(2, latent_dim=1, sigma=sigma)
    base.W.data = torch.tensor([weights])
    return base.requires_grad_(False)


line = torch.linspace(-25, 25, 1001)
plane = torch.cartesian_prod(line, line)
for sigma in (0.5, 1.0, 2.0):
    base = pca([0.8, -0.6], sigma)
    covariance = base.W.T @ base.W + sigma**2 * torch.eye(2)
    det = torch.det(covariance).item()
    x = torch.tensor([[1.0, 0.5]])
    true = MultivariateNormal(torch.zeros(2), covariance).log_prob(x).item()
    mass = base.log_prob(plane).double().exp().sum().item() * 0.05**2
    print(f"sigma {sigma}: log p(x) expected {true:.3f}, seen {base.log_prob(x).item():.3f}; "
          f"mass expected 1, seen {mass:.3g}")
    predicted = (2 * math.pi) ** 2 * math.sqrt(det) * math.exp(-det / 2)
    assert math.isclose(mass, predicted, rel_tol=0.01) and abs(mass - 1) > 0.1, "the behaviour has changed"

data = 3 * torch.randn(20_000, 2)
sigmas = [0.5 + 0.01 * i for i in range(400)]
best = max(sigmas, key=lambda sigma: pca([0.0, 0.0], sigma).log_prob(data).mean().item())
print(f"sigma of greatest likelihood for data of standard deviation 3: expected 3, seen {best:.2f}")
spread = torch.linalg.eigvalsh(torch.cov(pca([0.8, -0.6], 1.0)(20_000)[0].T))
print("eigenvalues of the covariance of draws: expected 1 and 2; seen", [round(v, 3) for v in spread.tolist()])
assert 1.40 < best < 1.48 and spread[0] < 1e-3, "the behaviour has changed"
EOF
