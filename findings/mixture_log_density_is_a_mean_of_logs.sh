#!/usr/bin/env bash
# PreliZ's Mixture.logpdf is the weighted mean of log densities, 17 nats off, beside a right pdf.
#
# The guess, before a scan of PreliZ's laws: moments, quantiles, densities and draws of one law agree. Of this law
#   that is:
#   logpdf is the logarithm of pdf.
# What was seen: for .4 N(0, 1) + .6 N(3, .5) logpdf at -1 is -19.90 where -2.34 is right, at 3 -2.30 where -.73 is; the
#   exponential of it has a mass of .19. It is .4 log p1 + .6 log p2. cdf, logcdf and pdf are right.
# Why it matters: log likelihoods of elicited mixtures are lower than they are by any amount, the more the components
#   differ, so that a single normal wins against a mixture that made the data. Take the logarithm of pdf.
# Versions: PreliZ 0.24.0, numpy 2.4.6, scipy 1.17.1. Source: the page calls the law a weighted sum of its components;
#   Mixture.logpdf in preliz/distributions/mixture.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile preliz==0.24.0 pytensor==2.38.3 \
    pytensor-distributions==0.1.3 numpy==2.4.6 scipy==1.17.1 matplotlib==3.10.8
PYTENSOR_FLAGS="cxx=,base_compiledir=$work/compiled" "$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import numpy as np
import preliz
from scipy import stats

print("preliz", version("preliz"))
mixture = preliz.Mixture([preliz.Normal(0, 1), preliz.Normal(3, 0.5)], [0.4, 0.6])
points = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
right = np.logaddexp(np.log(0.4) + stats.norm(0, 1).logpdf(points), np.log(0.6) + stats.norm(3, 0.5).logpdf(points))
logs = 0.4 * stats.norm(0, 1).logpdf(points) + 0.6 * stats.norm(3, 0.5).logpdf(points)
told = mixture.logpdf(points)
grid = np.linspace(-30, 30, 600_001)
mass, known = (np.trapezoid(density, grid) for density in (np.exp(mixture.logpdf(grid)), mixture.pdf(grid)))
print(f"log density at {points}: expected {right.round(2)}, log of pdf {np.log(mixture.pdf(points)).round(2)}, seen "
      f"{told.round(2)}")
print(f"mass: expected 1, of pdf {known:.4f}, of exp(logpdf) {mass:.4f}")
assert np.allclose(np.log(mixture.pdf(points)), right) and abs(known - 1) < 1e-6
assert np.allclose(told, logs) and abs(mass - 1) > 0.5, "the behaviour has changed"
drawn = mixture.rvs(10_000, random_state=0)
single = stats.norm(drawn.mean(), drawn.std()).logpdf(drawn).mean()
print(f"mean log-likelihood of 10,000 draws of the mixture: expected above {single:.2f}, which a single normal has; seen "
      f"{mixture.logpdf(drawn).mean():.2f}, by pdf {np.log(mixture.pdf(drawn)).mean():.2f}")
assert np.log(mixture.pdf(drawn)).mean() > single > mixture.logpdf(drawn).mean() + 1, "the behaviour has changed"
EOF
