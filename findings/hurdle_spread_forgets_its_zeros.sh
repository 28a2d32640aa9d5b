#!/usr/bin/env bash
# PreliZ's Hurdle of a continuous law has a variance without its zeros, and a 90 % interval up to 871.
#
# The guess, before a scan of PreliZ's laws: moments, quantiles, densities and draws of one law agree. Of this law
#   that is:
#   var and std are those of the draws, and hdi(.9) has a probability of .9 and is no longer than eti(.9).
# What was seen: for a gamma of mean 1.92 behind a hurdle that 70 % pass, var is 1.26 where 1.81 is exact and that of the
#   draws. Its interval of highest density at 90 % is (0, 871), all of the law, where (0, 3.17) is. With 95 % that
#   pass the interval is (.12, 4.25) where (0, 3.50) is. Mean, quantiles, cdf and draws are right, and a Hurdle
#   of a Poisson has the right variance.
# Why it matters: zero-inflated amounts (rain, spend, expression) are what a hurdle is elicited for; their spread is the
#   zeros' in large part. Take moments and intervals of draws.
# Versions: PreliZ 0.24.0 on PyTensor 2.38.3, numpy 2.4.6, scipy 1.17.1. Source: Hurdle.var in
#   preliz/distributions/hurdle.py integrates the density by trapezoids, where the mass at zero has no width.
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
alpha, beta = 2.5, 1.3
mean, variance = alpha / beta, alpha / beta**2
for passing in (0.7, 0.95, 0.5):
    law = preliz.Hurdle(preliz.Gamma(alpha, beta), passing)
    right = passing * (variance + mean**2) - (passing * mean) ** 2
    drawn = law.rvs(200_000, random_state=0)
    low, high = law.hdi(0.9)
    held = np.mean((drawn >= low) & (drawn <= high))
    shortest = stats.gamma(alpha, scale=1 / beta).ppf(1 - 0.1 / passing)  # zero to the 90 % quantile
    print(f"{passing:.0%} pass: mean expected {passing * mean:.3f}, seen {law.mean():.3f}; variance expected {right:.3f}, "
          f"of draws {drawn.var():.3f}, seen {law.var():.3f}; interval of 90 % expected (0, {shortest:.2f}), seen "
          f"({low:.2f}, {high:.2f}), which holds {held:.1%} of the draws")
    assert abs(law.mean() - passing * mean) < 0.01 and abs(drawn.var() - right) < 0.03 * right
    assert law.var() < right - 0.1, "the behaviour has changed"
    if passing == 0.95:
        assert low > 0 and high - low > 1.1 * shortest, "the behaviour has changed"
    else:
        assert high > 100 and held > 0.9999, "the behaviour has changed"
counts = preliz.Hurdle(preliz.Poisson(2.5), 0.7)
drawn = counts.rvs(200_000, random_state=0)
print(f"Poisson, 70% pass: variance of draws {drawn.var():.3f}, seen {counts.var():.3f}")
assert abs(counts.var() - drawn.var()) < 0.05
EOF
