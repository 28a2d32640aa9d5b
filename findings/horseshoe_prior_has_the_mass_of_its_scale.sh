#!/usr/bin/env bash
# GPyTorch's HorseshoePrior of scale s has a density of mass s, not 1.
#
# The guess of who reads the page, put into words after the first run:
#   log_prob is an approximation, the mean of two bounds, as the page says, so that its mass is
#   within some per cent of 1 at any scale, and the density of a draw does not depend on the unit but for 1 / s.
# What was seen: the mass is .96 at scale 1, .096 at .1 and .0096 at .01: the bounds of scale 1 are taken at x / s
#   and the 1 / s of the change of variables is left out. Times 1 / s the density is right to some per cent.
# Why it matters: as a constant it is without effect, but two models that differ in this scale, a scale that is itself
#   learned, and a marginal likelihood or a bound with the prior in it are off by log s for each coefficient, and
#   always towards the large scale.
# Versions: GPyTorch 1.15.2, torch 2.13.0 (CPU build), numpy 2.3.5, scipy 1.17.1. Source:
#   gpytorch/priors/horseshoe_prior.py.
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
from scipy.integrate import quad

print("gpytorch", gpytorch.__version__, "torch", torch.__version__)


def exact(x, scale):
    """The density of a horseshoe: a normal whose scale is half-Cauchy of this scale."""
    at = abs(x / scale)
    inner = quad(lambda u: np.exp(-0.5 * (at * np.exp(-u)) ** 2) / (1 + np.exp(2 * u)), -40, 40, points=[np.log(at)])
    return inner[0] * 2 / np.pi / np.sqrt(2 * np.pi) / scale


grid = torch.logspace(-12, 6, 200_001, dtype=torch.float64)
for scale in (1.0, 0.1, 0.01, 5.0):
    prior = gpytorch.priors.HorseshoePrior(torch.tensor(scale, dtype=torch.float64))
    mass = 2 * torch.trapezoid(prior.log_prob(scale * grid).exp(), scale * grid).item()
    told = [prior.log_prob(torch.tensor(x * scale, dtype=torch.float64)).exp().item() for x in (0.1, 1.0, 5.0)]
    right = [exact(x * scale, scale) for x in (0.1, 1.0, 5.0)]
    print(f"scale {scale:g}: mass expected 1, seen {mass:.4f}; density at .1, 1 and 5 scales expected "
          f"{np.round(right, 4)}, seen {np.round(told, 4)}")
    assert abs(mass / scale - 1) < 0.1 and np.allclose(np.array(told) / scale, right, rtol=0.15), "has changed"
EOF
