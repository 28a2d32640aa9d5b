#!/usr/bin/env bash
# Draws of torch's LKJCholesky do not follow its density from three variables on: the order of the variables matters.
#
# The guess of who reads the page, put into words after the first run:
#   the correlations of a draw are exchangeable, each a beta of mean 0 on (-1, 1) with the
#   variance 1 / (2 eta + n - 1), and the draws follow log_prob.
# What was seen: for 3 x 3 and eta = 1 the variances are .250, .300 and .300 where .25 is exact for each, for 4 x 4 and
#   eta = 3 .111 and five times .151 where .111 is. Only the pair of the first two variables is right. NumPyro's
#   draws, and uniform correlations kept where they are those of a matrix (eta = 1), have the exact one.
# Why it matters: prior and predictive draws of a correlation matrix are of larger correlations than the model has, so
#   that simulation-based calibration blames a right inference; log_prob, and with it SVI and HMC, is right. Pyro's
#   LKJCholesky and GPyTorch's LKJ priors are this class.
# Versions: torch 2.13.0 (CPU build), NumPyro 0.22.0, jax 0.10.2, numpy 2.4.6. Source:
#   torch/distributions/lkj_cholesky.py: row i has a squared length of Beta(i - 1/2, .) where the onion method has
#   Beta(i / 2, .).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 \
    numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'EOF'
import jax
import numpy as np
import numpyro.distributions as numpyro_dist
import torch

print("torch", torch.__version__, "jax", jax.__version__)
size = 100_000
for n, eta in ((2, 1.0), (3, 1.0), (3, 2.0), (4, 3.0)):
    torch.manual_seed(0)
    law = torch.distributions.LKJCholesky(n, torch.tensor(eta, dtype=torch.float64))
    rows, columns = np.tril_indices(n, -1)
    factor = law.sample((size,)).numpy()
    theirs = np.asarray(numpyro_dist.LKJCholesky(n, eta).sample(jax.random.key(0), (size,)))
    seen, peer = ((each @ each.swapaxes(1, 2)).var(0)[rows, columns] for each in (factor, theirs))
    exact = 1 / (2 * eta + n - 1)
    print(f"{n} x {n}, eta {eta:g}: variance of a correlation expected {exact:.4f}, seen {seen.round(4)}, NumPyro "
          f"{peer.round(4)}")
    assert (abs(peer - exact) < 0.004).all() and abs(seen[0] - exact) < 0.004
    if n > 2:
        assert (seen[1:] > exact * 1.1).all(), "the behaviour has changed"
# The judge of draws and density of 3 x 3 at eta = 1 is a uniform draw of the correlations, kept where it is a matrix.
rng = np.random.default_rng(0)
r = rng.uniform(-1, 1, (400_000, 3))
kept = r[1 - (r**2).sum(1) + 2 * r.prod(1) > 0]
print(f"by rejection, 3 x 3 and eta 1: {kept.var(0).round(4)}")
assert (abs(kept.var(0) - 0.25) < 0.004).all()
EOF
