#!/usr/bin/env bash
# scikit-learn's FactorAnalysis of data in volts or tesla is another model than that of the same data in microvolts.
#
# The guess, before the run: a factor analysis follows the unit: noise variances times the square of it, and the mean
#   log-likelihood moved by its logarithm per column.
# What was seen: no noise variance falls below 1e-12, whatever the data. Data of deviation 1e-6 have noise four times as
#   large as it is and a log-likelihood 1.3 nats too low, those of 1e-7 noise of 100 times all of their variance and
#   12.7 nats, without a warning, and EM stops at once. From 1e-5 up it is right, and PCA is at any unit.
# Why it matters: EEG is kept in volts, MEG in tesla and currents in ampere: the factors come out as zero, and the
#   score that chooses their number is of a floor. Standardise first, and add the logarithms of the scales.
# Versions: scikit-learn 1.9.1, numpy 2.3.5, scipy 1.17.1. Source: SMALL in sklearn/decomposition/_factor_analysis.py;
#   the page of the class names no limit.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 numpy==2.3.5 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import warnings

import numpy as np
import sklearn
from sklearn.decomposition import PCA, FactorAnalysis

print("scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
columns = 6
data = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, columns)) + 0.5 * rng.normal(size=(2000, columns))
score = {}
for unit in (1.0, 1e-3, 1e-5, 1e-6, 1e-7, 1e-13):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = FactorAnalysis(2).fit(unit * data)
    score[unit] = fit.score(unit * data) + columns * np.log(unit)
    noise = fit.noise_variance_.mean() / unit**2
    of_pca = PCA(2).fit(unit * data).score(unit * data) + columns * np.log(unit)
    print(f"unit {unit:5g}: noise variance expected .25, seen {noise:.3g}; log-likelihood in the first unit expected "
          f"{score[1.0]:.3f}, seen {score[unit]:.3f}, PCA {of_pca:.3f}; {len(caught)} warnings, {fit.n_iter_} steps")
    assert abs(of_pca - score[1.0]) < 0.01 and not caught
    if unit > 1e-6:
        assert abs(noise - 0.25) < 0.02 and abs(score[unit] - score[1.0]) < 1e-3
assert score[1e-6] < score[1.0] - 1 and score[1e-7] < score[1.0] - 10, "the behaviour has changed"
assert score[1e-13] < score[1.0] - 50, "the behaviour has changed"
EOF
