#!/usr/bin/env bash
# BetaQuotient.log_prob of TensorFlow Probability is NaN around 1, where the law has most of its mass.
#
# The guess, before a scan of many laws: moments, masses, densities and draws of one law agree. Of this law that is:
#   the density of the quotient of two betas is finite on all positive numbers, with a kink at
#   1; its own draws have a finite log-probability.
# What was seen: NaN for every value between .9 and 1.111, an eighth of the draws of BetaQuotient(2, 3, 4, 6). Elsewhere
#   it agrees with the closed form by scipy's hyp2f1, which has no difficulty there, to five digits.
# Why it matters: the law is that of a ratio of two success rates, which is near 1 exactly where two variants are
#   alike: one such datum makes the whole log-likelihood NaN.
# Versions: TensorFlow Probability 0.25.0 on jax 0.6.2, scipy 1.17.1, numpy 2.3.5. Source: beta_quotient.py takes
#   hyp2f1_small_argument, which is for arguments up to .9 in size, at x or 1 / x; the class's page has no limit.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile jax==0.6.2 jaxlib==0.6.2 \
    tensorflow-probability==0.25.0 numpy==2.3.5 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import logging
from importlib.metadata import version

import jax
import numpy as np
from scipy.special import beta, hyp2f1

logging.disable(logging.WARNING)
from tensorflow_probability.substrates import jax as tfp


def density(x, a0, b0, a1, b1):
    """That of x = u / v for u ~ Beta(a0, b0), v ~ Beta(a1, b1)."""
    small = beta(a0 + a1, b1) * x ** (a0 - 1) * hyp2f1(a0 + a1, 1 - b0, a0 + a1 + b1, min(x, 1.0))
    large = beta(a0 + a1, b0) * x ** (-a1 - 1) * hyp2f1(a0 + a1, 1 - b1, a0 + a1 + b0, min(1 / x, 1.0))
    return (small if x <= 1 else large) / (beta(a0, b0) * beta(a1, b1))


print("tensorflow-probability", version("tensorflow-probability"), "jax", jax.__version__)
numbers = (2.0, 3.0, 4.0, 6.0)
law = tfp.distributions.BetaQuotient(*numbers)
for x in (0.5, 0.85, 0.92, 0.99, 1.01, 1.1, 1.2, 3.0):
    told, exact = float(law.prob(x)), density(x, *numbers)
    print(f"x = {x:4}: density expected {exact:.5f}, told {told:.5f}")
    assert np.isnan(told) if 0.905 < x < 1.11 else abs(told - exact) < 1e-4, "the behaviour has changed"
drawn = law.sample(100_000, seed=jax.random.PRNGKey(0))
lost = np.isnan(np.asarray(law.log_prob(drawn)))
print(f"of its own draws {lost.mean():.3f} have a log-probability of NaN, those from {drawn[lost].min():.3f} to "
      f"{drawn[lost].max():.3f}")
assert 0.10 < lost.mean() < 0.15, "the behaviour has changed"
EOF
