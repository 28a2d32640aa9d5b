#!/usr/bin/env bash
# GPyTorch's LKJPrior(n, 1) is not flat over correlation matrices: its density is that of the Cholesky factor.
#
# The guess of who reads the page, put into words after the first run:
#   log_prob of a correlation matrix R is log |R|^(eta - 1) plus a constant, as the page says,
#   so that at eta = 1 all of them have the same, and two matrices at eta differ by (eta - 1) times that of log |R|.
# What was seen: for 3 x 3 matrices at eta = 1 the identity lies .51 above a matrix with .8 beside the diagonal of its
#   first column, and the order of the variables matters: the same matrix with them in another order is .51 apart. For
#   2 x 2 it is right.
# Why it matters: a MAP of a correlation matrix is drawn to independence of the first variable, by an amount that grows
#   with n, also where a flat prior was asked for. LKJCovariancePrior takes the same density.
# Versions: GPyTorch 1.15.2, torch 2.13.0 (CPU build), numpy 2.3.5, scipy 1.17.1. Source: log_prob in
#   gpytorch/priors/lkj_prior.py hands the factor of R to LKJCholesky, without the Jacobian of R to its factor.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 gpytorch==1.15.2 numpy==2.3.5 \
    scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import gpytorch
import torch

torch.set_default_dtype(torch.float64)
print("gpytorch", gpytorch.__version__, "torch", torch.__version__)


def correlation(size, row, column, value):
    """The identity but for one pair of variables."""
    matrix = torch.eye(size)
    matrix[row, column] = matrix[column, row] = value
    return matrix


for size in (2, 3, 4):
    for eta in (1.0, 2.0):
        prior = gpytorch.priors.LKJPrior(size, torch.tensor(eta))
        identity = prior.log_prob(torch.eye(size)).item()
        for row, column in ((1, 0), (size - 1, size - 2)):
            matrix = correlation(size, row, column, 0.8)
            right = (eta - 1) * matrix.logdet().item()
            told = prior.log_prob(matrix).item() - identity
            jacobian = (size - 1 - row) * 0.5 * matrix.logdet().item()
            print(f"{size} x {size}, eta {eta:g}, .8 between variables {column} and {row}: log density over that of the "
                  f"identity expected {right:.4f}, seen {told:.4f}")
            assert abs(told - right - jacobian) < 1e-6, "the behaviour has changed"
EOF
