#!/usr/bin/env bash
# ArviZ's standard error of a balanced accuracy does not see how many data a class has: six to twenty times too small.
#
# The guess, before the run: metrics(data, kind="acc_balanced") averages the accuracies of the two classes, and its
#   error is that of an average of two proportions, sqrt(a (1 - a) / n1 + b (1 - b) / n0) / 2. With 40 of 2000 data in
#   the rare class it is .036, all of it from those 40.
# What was seen: .0017 in arviz-stats 0.8.0, which divides a variance by the root of 2000, and .006 in 1.3.3, which
#   takes the root of both classes' variances over all 2000. Over repeated data sets the balanced accuracy varies by
#   .036. In 1.3.3 the error is the same for 1000 data in the rare class and for 40, and at equal classes it lacks a
#   factor of sqrt(2).
# Why it matters: balanced accuracy is taken where a class is rare, which is where the error is most wrong. The errors
#   of loo_metrics are the same; .05 between two models looks like eight standard errors, and is one and a half.
# Versions: arviz-stats 0.8.0 below Python 3.12, 1.3.3 from there on. Source: _acc_balanced in
#   arviz_stats/base/diagnostics.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numpy==2.4.6 scipy==1.17.1 xarray==2026.9.0 \
    "arviz-base==0.8.2; python_version < '3.12'" "arviz-stats[xarray]==0.8.0; python_version < '3.12'" \
    "arviz-base==1.3.1; python_version >= '3.12'" "arviz-stats[xarray]==1.3.3; python_version >= '3.12'"
"$work/venv/bin/python" -W ignore - <<'EOF'
import arviz_stats
import numpy as np
from arviz_base import from_dict

print("arviz-stats", arviz_stats.__version__)
generator, num_data, right = np.random.default_rng(0), 2000, (0.9, 0.7)
for rare in (1000, 200, 40):
    truth = np.repeat([1, 0], [rare, num_data - rare])
    means, told = [], []
    for _ in range(200):
        found = np.where(generator.random(num_data) < np.take(right, truth), truth, 1 - truth)
        predicted = found[None, None].astype(float)
        data = from_dict({"observed_data": {"y": truth}, "posterior_predictive": {"y": predicted}})
        mean, error = arviz_stats.metrics(data, kind="acc_balanced", round_to="none")
        means.append(mean)
        told.append(error)
    exact = np.sqrt(sum(p * (1 - p) / n for p, n in zip(right, (num_data - rare, rare)))) / 2
    print(f"{rare} of {num_data} in the rare class: balanced accuracy {np.mean(means):.3f}; its error in closed form "
          f"{exact:.4f}, over 200 data sets {np.std(means):.4f}, told {np.mean(told):.4f}")
    assert abs(np.mean(means) - 0.8) < 0.01 and abs(np.std(means) / exact - 1) < 0.25
    assert np.mean(told) < 0.8 * exact, "the behaviour has changed"
assert np.mean(told) < exact / 5, "the behaviour has changed"
EOF
