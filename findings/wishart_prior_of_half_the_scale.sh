#!/usr/bin/env bash
# GPyTorch's WishartPrior has the whole trace in its exponent in place of a half of it, and a mass of 1 / 16.
#
# The guess of who reads the page, put into words after the first run:
#   log_prob of WishartPrior(nu, K) is that of scipy's wishart(nu, K), as the page's formula
#   with exp(-0.5 Trace(K^-1 Sigma)) says.
# What was seen: it is lower by half the trace. As a function it is the density of a Wishart of the scale K / 2 times
#   2^(-nu n / 2), 1 / 16 for 2 x 2 and four degrees of freedom, so that its mode is half of what it should be.
#   InverseWishartPrior beside it agrees with scipy, at the degrees of freedom nu + n - 1 that its page tells.
# Why it matters: the MAP of a task covariance or of a precision under this prior is drawn to half its size, and a bound
#   or evidence with it is off by some nats.
# Versions: GPyTorch 1.15.2, torch 2.13.0 (CPU build), numpy 2.3.5, scipy 1.17.1. Source:
#   gpytorch/priors/wishart_prior.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 gpytorch==1.15.2 numpy==2.3.5 \
    scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import gpytorch
import numpy as np
import torch
from gpytorch.priors.wishart_prior import InverseWishartPrior, WishartPrior
from scipy import stats

print("gpytorch", gpytorch.__version__, "torch", torch.__version__)
scale, size = torch.eye(2) + 0.3, 2
for nu in (4.0, 7.0):
    for matrix in (torch.tensor([[2.0, 0.4], [0.4, 1.0]]), torch.tensor([[5.0, -0.5], [-0.5, 3.0]])):
        trace = torch.linalg.solve(scale, matrix).trace().item()
        told = WishartPrior(nu, scale).log_prob(matrix).item()
        exact = stats.wishart(nu, scale.numpy()).logpdf(matrix.numpy())
        halved = stats.wishart(nu, scale.numpy() / 2).logpdf(matrix.numpy()) - nu * size / 2 * np.log(2)
        inverse = InverseWishartPrior(nu, scale).log_prob(matrix).item()
        of_scipy = stats.invwishart(nu + size - 1, scale.numpy()).logpdf(matrix.numpy())
        print(f"nu {nu:g}: Wishart expected {exact:.4f}, seen {told:.4f}, lower by {exact - told:.4f}, half the trace "
              f"{trace / 2:.4f}; half the scale and its mass {halved:.4f}; inverse {of_scipy:.4f}, seen {inverse:.4f}")
        assert abs(inverse - of_scipy) < 1e-3
        assert abs(exact - told - trace / 2) < 1e-3 and abs(halved - told) < 1e-3, "the behaviour has changed"
EOF
