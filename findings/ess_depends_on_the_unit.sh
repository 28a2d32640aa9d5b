#!/usr/bin/env bash
# ArviZ's effective sample size and Monte Carlo error of a mean or a deviation depend on the unit of the draws.
#
# The guess, before the run: an effective sample size has no unit. Draws taken times 1e-10 or 1e-20 give the same one,
#   and a Monte Carlo error that is 1e-10 or 1e-20 times what it was.
# What was seen: draws whose range is below 1e-15 count as constant, and constant draws as independent. Four chains of
#   1000 draws with autocorrelation .95 have about 100 effective draws for the mean (103 in theory), times 1e-20 they
#   have 4000 and an error of the mean a sixth as large. For the standard deviation the draws are squared first, so
#   this happens below 3e-8: at 1e-10 there are 4000, and its error is a fifth (not in arviz-stats 0.8.0, whose error
#   of a deviation takes another size; in 1.3.3 again). Bulk and tail sizes, which are of ranks, and R-hat stand, so
#   that a table shows 92 effective draws beside an error that belongs to 4000.
# Why it matters: weights, densities and likelihood ratios, amounts in moles or farads and strains of 1e-21 have such
#   ranges. Divide by a typical value first.
# Versions: ArviZ 0.23.4, arviz-stats 0.8.0 (1.3.3 has the same lines). Source: _ess in arviz/stats/diagnostics.py and
#   in arviz_stats/base/diagnostics.py returns the number of draws where their range is below
#   np.finfo(float).resolution.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile arviz==0.23.4 arviz-stats==0.8.0 numpy==2.4.6 scipy==1.17.1 \
    pandas==3.0.1 xarray==2026.9.0 matplotlib==3.10.8
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import arviz
import numpy as np
from arviz_stats.base import array_stats

generator, rho = np.random.default_rng(0), 0.95
chains = generator.normal(size=(4, 1000))
for draw in range(1, 1000):
    chains[:, draw] = rho * chains[:, draw - 1] + np.sqrt(1 - rho**2) * chains[:, draw]
theory = 4000 * (1 - rho) / (1 + rho)
print(f"in theory {theory:.0f} effective draws for the mean, in whatever unit")
for name, package in ((f"ArviZ {version('arviz')}", arviz), (f"arviz-stats {version('arviz-stats')}", array_stats)):
    seen = {}
    for unit in (1.0, 1e-10, 1e-20):
        draws = unit * chains
        sizes = [float(package.ess(draws, method=method)) for method in ("bulk", "mean", "sd")]
        errors = [float(package.mcse(draws, method=method)) / unit for method in ("mean", "sd")]
        seen[unit] = np.array(sizes + errors)
        print(f"{name}, unit {unit:g}: ess bulk {sizes[0]:.0f}, mean {sizes[1]:.0f}, sd {sizes[2]:.0f}; "
              f"Monte Carlo error in units, mean {errors[0]:.4f}, sd {errors[1]:.4f}")
    assert 0.5 < seen[1][1] / theory < 2
    assert np.allclose(seen[1e-10][[0, 1, 3]], seen[1][[0, 1, 3]]) and np.isclose(seen[1e-20][0], seen[1][0])
    assert seen[1e-10][2] == 4000 and (seen[1e-20][1:3] == 4000).all(), "the behaviour has changed"
    assert seen[1e-20][3] < seen[1][3] / 3, "the behaviour has changed"
    assert package is array_stats or seen[1e-10][4] < seen[1][4] / 3, "the behaviour has changed"
EOF
