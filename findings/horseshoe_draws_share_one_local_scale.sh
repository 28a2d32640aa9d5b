#!/usr/bin/env bash
# A hundred thousand draws of GPyTorch's HorseshoePrior in one call are of one normal: they share one local scale.
#
# The guess of who reads the page, put into words after the first run:
#   rsample((100_000,)) has independent draws of the horseshoe, with its pole at 0 and its
#   Cauchy tails: the median size is the same in each call, and some draws are beyond forty times that.
# What was seen: one half-Cauchy scale is drawn in the shape of the prior and serves the whole call. The median size is
#   several times as large in one call as in another, the kurtosis is a normal's, 3, in each, and none of the draws is
#   beyond forty medians. Draws of 20,000 single calls are right.
# Why it matters: a prior predictive check or a Monte Carlo of the prior by one call sees a normal of a random width,
#   and none of the sparsity for which the horseshoe is taken. Draw one at a time, or give the scale the shape.
# Versions: GPyTorch 1.15.2, torch 2.13.0 (CPU build), numpy 2.3.5, scipy 1.17.1. Source: rsample in
#   gpytorch/priors/horseshoe_prior.py gives sample_shape to the normal alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 gpytorch==1.15.2 numpy==2.3.5 \
    scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import gpytorch
import torch
from scipy.stats import kurtosis

print("gpytorch", gpytorch.__version__, "torch", torch.__version__)
size = 100_000
prior = gpytorch.priors.HorseshoePrior(torch.tensor(1.0))
torch.manual_seed(0)
exact = (torch.randn(size) * torch.distributions.HalfCauchy(1.0).sample((size,))).abs()
middle, tail = exact.median().item(), (exact > 40 * exact.median()).double().mean().item()
print(f"by hand: median size {middle:.3f}, beyond forty medians {tail:.4f}")
seen = []
for call in range(5):
    drawn = prior.rsample((size,))
    seen.append(drawn.abs().median().item())
    far = (drawn.abs() > 40 * drawn.abs().median()).double().mean().item()
    fourth = kurtosis(drawn.double().numpy(), fisher=False)
    print(f"call {call}: median size expected {middle:.2f}, seen {seen[-1]:.3f}; beyond forty medians {far:.4f}; "
          f"kurtosis expected without limit, seen {fourth:.3f}")
    assert far == 0 and abs(fourth - 3) < 0.1, "the behaviour has changed"
single = torch.stack([prior.rsample() for _ in range(20_000)]).abs()
print(f"20,000 single calls: median size {single.median():.3f}, beyond forty medians "
      f"{(single > 40 * single.median()).double().mean():.4f}")
assert abs(single.median() - middle) < 0.05 and tail > 0.005
assert max(seen) > 2 * min(seen), "the behaviour has changed"
EOF
