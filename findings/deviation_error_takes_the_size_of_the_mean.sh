#!/usr/bin/env bash
# arviz-stats 0.8.0 takes the Monte Carlo error of a standard deviation from the effective size of the mean.
#
# The guess, before the run: mcse(method="sd") is one number in ArviZ 0.23 and in arviz-stats, and the deviation of
#   the standard deviation over repeated runs. Squares of a Gaussian chain with autocorrelation r have r^2, so the
#   error is 1 / sqrt(2 n (1 - r^2) / (1 + r^2)) whatever the sign of r.
# What was seen: ArviZ 0.23.4 has that. arviz-stats 0.8.0 has the effective size of the mean in it, n (1 - r) / (1 +
#   r): for r = .9 its error is 1.4 times too large, and for r = -.9, chains that swing, a sixth: .0059 where .0345 is
#   exact.
# Why it matters: NUTS makes chains that swing, with more effective draws of the mean than draws and few of the
#   square, which is where this error is too small; summary shows it as mcse_sd. 0.8.0 is what pip installs below
#   Python 3.12.
# Versions: arviz-stats 0.8.0, ArviZ 0.23.4; arviz-stats 1.3.3 takes the size of the squares again. Source: _mcse_sd
#   in arviz_stats/base/diagnostics.py.
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

print("ArviZ", version("arviz"), "and arviz-stats", version("arviz-stats"))
num_runs, num_chains, num_draws = 60, 4, 1000
for rho in (-0.9, 0.0, 0.9):
    generator = np.random.default_rng(0)
    runs = generator.normal(size=(num_runs, num_chains, num_draws))
    for draw in range(1, num_draws):
        runs[..., draw] = rho * runs[..., draw - 1] + np.sqrt(1 - rho**2) * runs[..., draw]
    total = num_chains * num_draws
    exact = 1 / np.sqrt(2 * total * (1 - rho**2) / (1 + rho**2))
    # ArviZ cuts an effective size off at n log10(n).
    of_the_mean = 1 / np.sqrt(2 * total * min((1 - rho) / (1 + rho), np.log10(total)))
    seen = runs.std(axis=(1, 2), ddof=1).std()
    old = np.mean([arviz.mcse(run, method="sd") for run in runs])
    new = np.mean([array_stats.mcse(run, method="sd") for run in runs])
    print(f"autocorrelation {rho}: error of the standard deviation in closed form {exact:.4f}, over {num_runs} runs "
          f"{seen:.4f}, ArviZ {old:.4f}, arviz-stats {new:.4f}")
    assert abs(seen / exact - 1) < 0.3 and abs(old / exact - 1) < 0.25
    assert abs(new / of_the_mean - 1) < 0.25, "the behaviour has changed"
    assert rho == 0 or abs(new / exact - 1) > 0.3, "the behaviour has changed"
EOF
