#!/usr/bin/env bash
# PreliZ's Cauchy(3, 0.5) has draws around 6 of scale 2: location and scale are divided by the scale.
#
# The guess, before a scan of PreliZ's laws: moments, quantiles, densities and draws of one law agree. Of this law
#   that is:
#   draws have the location as their median and the scale as half of the distance of their quartiles.
# What was seen: the quartiles of 200,000 draws of Cauchy(3, .5) are 3.99, 5.99 and 7.99 where 2.5, 3 and 3.5 are right,
#   those of Cauchy(0, 2) lie at -.5 and .5 where -2 and 2 are right. With scale 1 the draws are right, and cdf, ppf and
#   density of the same objects are at any scale. HalfCauchy is right.
# Why it matters: PreliZ is there to look at priors before they are taken; predictive draws of a Cauchy(0, 2.5) prior
#   are 6.25 times too narrow. Take ppf of uniform draws, or scipy's.
# Versions: PreliZ 0.24.0 on PyTensor 2.38.3, numpy 2.4.6, scipy 1.17.1. Source: numba_core_CauchyRV in
#   pytensor/link/numba/dispatch/random.py divides by the scale, as PyTensor's issue 2308 of July 2026 says. PreliZ
#   0.24.0 runs with this version of PyTensor and not with 3.0.7, which moved a module that it imports.
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
shares = np.array([0.25, 0.5, 0.75])
for location, scale in ((0, 1), (3, 1), (0, 2), (3, 0.5), (-1, 2.5)):
    law = preliz.Cauchy(location, scale)
    right = stats.cauchy(location, scale).ppf(shares)
    seen = np.quantile(law.rvs(200_000, random_state=0), shares)
    print(f"Cauchy({location}, {scale}): quartiles expected {right.round(2)}, by ppf {law.ppf(shares).round(2)}, of the "
          f"draws {seen.round(2)}")
    assert np.allclose(law.ppf(shares), right)
    error = 4 / np.sqrt(200_000) * np.pi / scale  # four standard errors of a quartile of draws that are divided
    assert np.allclose(seen, (location + stats.cauchy.ppf(shares)) / scale, atol=error), "the behaviour has changed"
    assert (scale == 1) == np.allclose(seen, right, atol=error), "the behaviour has changed"
for scale in (0.5, 2.0):
    law = preliz.HalfCauchy(scale)
    seen = np.quantile(law.rvs(200_000, random_state=0), shares)
    print(f"HalfCauchy({scale}): quartiles expected {law.ppf(shares).round(2)}, of the draws {seen.round(2)}")
    assert np.allclose(seen, law.ppf(shares), rtol=0.03)
EOF
