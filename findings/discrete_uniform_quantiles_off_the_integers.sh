#!/usr/bin/env bash
# Quantiles of NumPyro's DiscreteUniform are no integers and can lie below its support.
#
# The guess, before the run: icdf(p) is the smallest integer k with cdf(k) >= p, as in scipy.stats.randint and in
#   NumPyro's own Poisson or Binomial where they have one.
# What was seen: for DiscreteUniform(2, 6), icdf(.1) is 1.5, icdf(.3) is 2.5 and icdf(.93) is 5.65: the straight line
#   through the corners of the distribution function. cdf(icdf(p)) falls short of p, log_prob(icdf(.1)) is that of a
#   value outside the support. No error is raised.
# Why it matters: draws by inversion (quasi-random numbers, prior transforms of nested sampling, copulas, median
#   starting points) become values that the model cannot produce.
# Versions: numpyro 0.22.0, jax 0.10.2, scipy 1.17.1. Source: DiscreteUniform.icdf in numpyro/distributions/discrete.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 scipy==1.17.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.stats import randint

jax.config.update("jax_enable_x64", True)
LEVELS = np.array([0.1, 0.3, 0.93])
theirs = dist.DiscreteUniform(2, 6)
seen = np.asarray(theirs.icdf(jnp.array(LEVELS)))
expected = randint.ppf(LEVELS, 2, 7)
print("numpyro", numpyro.__version__, "seen:", seen, "expected:", expected, "cdf(seen):", np.asarray(theirs.cdf(seen)))
assert np.allclose(expected, [2, 3, 6])
assert np.allclose(seen, [1.5, 2.5, 5.65])
assert (np.asarray(theirs.cdf(seen)) < LEVELS).all()
PYTHON
