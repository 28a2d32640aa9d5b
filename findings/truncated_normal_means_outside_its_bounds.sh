#!/usr/bin/env bash
# NumPyro's TruncatedNormal between 5 and 7 has a mean below 5; between -7 and -5 its mirror image is right.
#
# The guess, before a scan of many laws: moments, masses, densities and draws of one law agree. Of this law that is:
#   mean, variance and density of a normal truncated to the upper tail are those of the mirror
#   image in the lower one, which the class cares for, to single precision.
# What was seen: for (5, 7) the mean is 4.989, outside the support, where 5.186 is exact, the variance 1.06 in place of
#   .033, and the density .96 of what it is. From (4, 6) on the variance is a quarter off. Draws are right at all of
#   these, and mean, variance and density of (-7, -5) too.
# Why it matters: a truncated likelihood or prior in the tail (a detection limit, an excess over a threshold) gives
#   moments and a normaliser that depend on the sign of the axis. Mirror the data, or take double precision.
# Versions: NumPyro 0.22.0, jax 0.10.2, scipy 1.17.1, numpy 2.4.6. Source: numpyro/distributions/truncated.py mirrors
#   for draws alone; moments and normaliser are differences of cdf near 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 scipy==1.17.1 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'EOF'
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats

print("numpyro", numpyro.__version__, "jax", jax.__version__)
for low, high in ((2.0, 4.0), (4.0, 6.0), (5.0, 7.0)):
    law, mirrored = dist.TruncatedNormal(0, 1, low=low, high=high), dist.TruncatedNormal(0, 1, low=-high, high=-low)
    exact = stats.truncnorm(low, high)
    drawn = np.asarray(law.sample(jax.random.key(0), (100_000,)))
    print(f"({low:g}, {high:g}): mean expected {exact.mean():.3f}, of draws {drawn.mean():.3f}, told {law.mean:.3f}, "
          f"mirrored {-mirrored.mean:.3f}; variance {exact.var():.4f}, told {law.variance:.4f}, mirrored "
          f"{mirrored.variance:.4f}; log density at {low:g} {exact.logpdf(low):.4f}, told {law.log_prob(low):.4f}, "
          f"mirrored {mirrored.log_prob(-low):.4f}")
    assert abs(drawn.mean() - exact.mean()) < 0.003 and abs(mirrored.mean + exact.mean()) < 1e-3
    assert abs(mirrored.variance - exact.var()) < 1e-4 and abs(mirrored.log_prob(-low) - exact.logpdf(low)) < 1e-3
    if low == 5:
        assert law.mean < low and law.variance > 1 and law.log_prob(low) < exact.logpdf(low) - 0.03, "has changed"
    if low == 4:
        assert abs(law.variance / exact.var() - 1) > 0.1, "the behaviour has changed"
EOF
