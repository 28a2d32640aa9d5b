#!/usr/bin/env bash
# KernelDensity(bandwidth="scott") of scikit-learn has the same bandwidth whatever the spread of the data.
#
# The guess, before the run: Scott's rule n^(-1/(d+4)) times the standard deviation, as scipy's gaussian_kde has it,
#   so that rescaled data give a rescaled density.
# What was seen: 1000 points of standard deviation 1, .01 and 100 all get the bandwidth .251; scipy's are .245, .0025
#   and 24.5. At .01 the mean log density is .46 instead of 3.22: 2.8 nats a dimension. "silverman"
#   leaves the spread out too.
# Why it matters: a kernel density of the codes is a common estimate of a VAE's aggregated posterior, and of
#   log-likelihoods from samples. Codes of a collapsed unit (a mean with spread .01) or of images in [0, 255]
#   are then smoothed far too much or hardly at all. Whiten first, or choose the bandwidth by cross-validation.
# Versions: scikit-learn 1.9.1, scipy 1.17.1. Source: sklearn/neighbors/_kde.py, fit: n ** (-1 / (d + 4)) and nothing
#   else; the page names the rule only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import numpy as np
import sklearn
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity

print("scikit-learn", sklearn.__version__)
x = np.random.default_rng(0).normal(size=1000)
bandwidths, losses = [], []
for spread in (1.0, 0.01, 100.0):
    data = spread * x
    seen = KernelDensity(bandwidth="scott").fit(data[:, None])
    expected = gaussian_kde(data, "scott")
    width = expected.factor * data.std(ddof=1)
    mean_seen, mean_expected = seen.score_samples(data[:, None]).mean(), expected.logpdf(data).mean()
    bandwidths.append(seen.bandwidth_)
    losses.append(mean_expected - mean_seen)
    print(f"spread {spread:6}: expected bandwidth {width:8.4f}, seen {seen.bandwidth_:.4f}; "
          f"mean log density expected {mean_expected:6.2f}, seen {mean_seen:6.2f}")
assert len(set(bandwidths)) == 1, "the behaviour has changed"
assert abs(losses[0]) < 0.05 and losses[1] > 2.5, "the behaviour has changed"
EOF
