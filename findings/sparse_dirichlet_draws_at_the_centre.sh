#!/usr/bin/env bash
# A quarter of torch's draws of Beta(.001, .001) are exactly 1/2, and an eighth of Dirichlet(.001, .001, .001) the centre.
#
# The guess, before the run: of so small a concentration all draws are 0 or 1 to rounding, and corners of the simplex;
#   where both Gammas of a draw underflow their logarithms decide, as in NumPy.
# What was seen: .243 of the draws of Beta(.001, .001) are exactly 1/2, where 4e-4 is the mass of all of (.4, .6), so
#   that the variance is .189 in place of .2495; at 1e-5 it is .99 of them. .12 of those of Dirichlet(.001 x 3) are
#   the centre (1/3, 1/3, 1/3). Both precisions alike; at .01 the draws are right. NumPy's are right at all of these.
# Why it matters: a sparse topic or mixture model of one's own draws, from its prior, data of evenly mixed topics, which
#   have no density to speak of: simulation-based calibration and predictive checks are of another model.
#   ppl_vae draws the logarithm of the Gamma, log G(a + 1) + log(u) / a (ppl_vae/distributions/beta.py).
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6, scipy 1.17.1. Source: the pages of Beta and Dirichlet allow any
#   concentration above 0; ATen clamps each Gamma at the smallest number, so that their ratio is 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" - <<'EOF'
import numpy as np
import torch
from scipy import stats

print("torch", torch.__version__)
size, share = 200_000, {}
for dtype in (torch.float32, torch.float64):
    for a in (0.01, 0.001, 1e-5):
        torch.manual_seed(0)
        x = torch.distributions.Beta(torch.tensor(a, dtype=dtype), torch.tensor(a, dtype=dtype)).sample((size,))
        topics = torch.distributions.Dirichlet(torch.full((3,), a, dtype=dtype)).sample((size,))
        centre = ((topics - 1 / 3).abs() < 1e-3).all(-1).double().mean().item()
        mass = stats.beta(a, a).cdf(0.6) - stats.beta(a, a).cdf(0.4)
        share[dtype, a] = (x == 0.5).double().mean().item()
        between = ((x > 0.4) & (x < 0.6)).double().mean().item()
        theirs = np.random.default_rng(0).beta(a, a, size)
        print(f"{dtype!s:14} a = {a:g}: in (.4, .6) expected {mass:.1e}, seen {between:.1e}, NumPy "
              f"{((theirs > 0.4) & (theirs < 0.6)).mean():.1e}; exactly 1/2 {share[dtype, a]:.3f}; "
              f"variance {x.double().var():.4f} where {0.25 / (2 * a + 1):.4f} is right; Dirichlet's centre {centre:.3f}")
for dtype in (torch.float32, torch.float64):
    assert share[dtype, 0.01] < 1e-4
    assert 0.2 < share[dtype, 0.001] < 0.3 and share[dtype, 1e-5] > 0.95, "the behaviour has changed"
EOF
