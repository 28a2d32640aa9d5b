#!/usr/bin/env bash
# The cdf of PyMC's DiscreteUniform is 0 at its lower end, where it is 1 / n; one step further it is right.
#
# The guess, before a scan of PyMC's laws: draws, logp, logcdf and icdf of one law agree. Of this law that is:
#   logcdf at k is the logarithm of the sum of exp(logp) up to and including k, from the lower end on.
# What was seen: for DiscreteUniform(0, 3) the cdf is 0, .5, .75 and 1 where .25, .5, .75 and 1 are right; likewise for
#   other bounds. The least of three dice is 1 with probability 0 and 2 with .70, where .42 and .28 are right. For
#   Binomial(3, .5) and Poisson(2) it is right at 0.
# Why it matters: the logcdf at the lower end is minus infinity, so that a likelihood of "at most k", or of an order
#   statistic, rules the data out that lie there. Take Categorical, or minus the logarithm of n there by hand.
# Versions: PyMC 5.28.5, pytensor 2.38.3, numpy 2.4.6, scipy 1.17.1. Source: DiscreteUniform.logcdf in
#   pymc/distributions/discrete.py puts minus infinity where the value is at or below lower.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pymc==5.28.5 pytensor==2.38.3 arviz==0.23.4 numpy==2.4.6 \
    scipy==1.17.1 matplotlib==3.10.8
PYTENSOR_FLAGS="cxx=,base_compiledir=$work/compiled" "$work/venv/bin/python" -W ignore - <<'EOF'
import numpy as np
import pymc

print("pymc", pymc.__version__)


def both(law, points):
    """The sums of the probabilities up to each point, and the cdf that is told."""
    masses = np.exp([float(pymc.logp(law, int(point)).eval()) for point in points])
    return np.cumsum(masses), np.exp([float(pymc.logcdf(law, int(point)).eval()) for point in points])


for lower, upper in ((0, 3), (-2, 5), (1, 6)):
    right, told = both(pymc.DiscreteUniform.dist(lower, upper), range(lower, upper + 1))
    print(f"DiscreteUniform({lower}, {upper}): cdf expected {right.round(3)}, seen {told.round(3)}")
    assert np.allclose(told[1:], right[1:]) and told[0] == 0, "the behaviour has changed"
for name, law in (("Binomial(3, .5)", pymc.Binomial.dist(3, 0.5)), ("Poisson(2)", pymc.Poisson.dist(2.0))):
    right, told = both(law, range(4))
    print(f"{name}: cdf expected {right.round(3)}, seen {told.round(3)}")
    assert np.allclose(told, right)
lowest = pymc.math.min(pymc.DiscreteUniform.dist(1, 6, size=3))
seen = np.exp([float(pymc.logp(lowest, int(point)).eval()) for point in range(1, 7)])
right = (np.arange(6, 0, -1) ** 3 - np.arange(5, -1, -1) ** 3) / 216
print(f"the least of three dice: probabilities expected {right.round(3)}, sum 1, seen {seen.round(3)}, "
      f"sum {seen.sum():.3f}")
assert not np.allclose(seen, right), "the behaviour has changed"
EOF
