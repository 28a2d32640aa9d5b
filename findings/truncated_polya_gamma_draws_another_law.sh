#!/usr/bin/env bash
# Draws of TruncatedPolyaGamma (Pyro and NumPyro) miss its density: the mean by 2.5 %, the lower tail by 40 %.
#
# The guess, before the run: it is PG(1, 0) cut off at 2.5, where only 4e-7 of the mass lies, so draws have mean 1/4
#   and P(x <= .05) = .0507, as quadrature of log_prob says.
# What was seen: the density is right and integrates to one; draws are sums of only the first 8 gammas of the infinite
#   series and leave out the mean of the rest. Mean .2435 in both packages (the eight terms' own is .2437, some 20
#   standard errors of 400,000 draws below 1/4), P(x <= .05) = .070.
# Why it matters: Polya-Gamma augmentation of a logistic likelihood, or a simulation-based calibration of a model with
#   this site, compares draws of one law with the density of another. Adding the mean of the terms left out,
#   sum over k > 8 of 1 / (2 pi^2 (k - 1/2)^2), mends the mean.
# Versions: pyro-ppl 1.9.2 with torch 2.13.0; numpyro 0.22.0 with jax 0.10.2. Source: num_gamma_variates = 8 in
#   pyro/distributions/polya_gamma.py and in numpyro/distributions/truncated.py; the series is Polson, Scott &
#   Windle 2013, equation 2 (arxiv.org/abs/1205.0310).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2 numpyro==0.22.0 \
  jax==0.10.2 jaxlib==0.10.2
"$work/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as dist
import torch

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
pyro.set_rng_seed(0)
N, CUT = 400_000, 0.05
grid = np.linspace(1e-4, 2.5, 200_001)
theirs, jaxed = dist.TruncatedPolyaGamma(torch.tensor(1.0)), ndist.TruncatedPolyaGamma()
density = theirs.log_prob(torch.tensor(grid)).exp().numpy()
assert np.allclose(density, np.exp(np.asarray(jaxed.log_prob(jnp.array(grid)))), atol=1e-6)
low = grid <= CUT
mass, mean, tail = (np.trapezoid(y, x) for y, x in ((density, grid), (density * grid, grid), (density[low], grid[low])))
print(f"density: mass {mass:.6f}, mean {mean:.5f}, P(x <= {CUT}) {tail:.5f}")
assert abs(mass - 1) < 1e-4 and abs(mean - 0.25) < 1e-4
draws = {"pyro " + pyro.__version__: theirs.sample((N,)).numpy()}
draws["numpyro " + numpyro.__version__] = np.asarray(jaxed.sample(jax.random.PRNGKey(0), (N,)))
for name, x in draws.items():
    error = x.std() / N**0.5
    print(f"{name}: mean {x.mean():.5f} +- {error:.5f}, P(x <= {CUT}) {(x <= CUT).mean():.5f}")
    assert (mean - x.mean()) / error > 10
    assert (x <= CUT).mean() > 1.3 * tail
PYTHON
