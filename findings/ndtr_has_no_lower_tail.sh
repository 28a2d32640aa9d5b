#!/usr/bin/env bash
# torch.special.ndtr(-8.5) is 0 where 9.5e-18 is right, and ndtr(-5) in single precision is 4 % off.
#
# The guess, before the run: a function of torch.special is as scipy.special's of the same name, relatively exact in
#   the lower tail down to where numbers end (-37 in double precision, -13 in single); only Normal.cdf, which is
#   written as (1 + erf) / 2, loses the tail.
# What was seen: both lose it alike. In double precision ndtr is 2 % off at -8 and 0 from -8.3 on; in single
#   precision 4 % off at -5 and 0 from -5.5 on. Its gradient, the density, is right where the value is 0.
#   torch.special.log_ndtr, log_ndtr(x).exp() and erfc(-x / sqrt(2)) / 2 are exact.
# Why it matters: probabilities of rare outcomes in a likelihood of one's own, censored or ordered, become 0 and
#   their logarithm -inf; what is taken as density minus x times tail, as the mean of a censored Gaussian, is wrong
#   long before. ppl_vae takes erfc (ppl_vae/distributions/censored_normal.py).
# Versions: torch 2.13.0 (CPU build), scipy 1.17.1. Source: the page of torch.special.ndtr, "the area under the
#   standard Gaussian probability density function, integrated from minus infinity to input", without a word of
#   its range; that of log_ndtr says that log of the same area.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" - <<'EOF'
import math

import scipy.special
import torch

print("torch", torch.__version__)
for dtype, points in ((torch.float64, (-3.0, -8.0, -8.5, -20.0)), (torch.float32, (-3.0, -5.0, -5.6, -8.0))):
    for point in points:
        x = torch.tensor(point, dtype=dtype)
        exact = float(scipy.special.ndtr(point))
        seen = torch.special.ndtr(x).item()
        by_erfc = (0.5 * torch.special.erfc(-x / math.sqrt(2))).item()
        print(f"{dtype!s:14} ndtr({point:5}): expected {exact:.6e}, seen {seen:.6e}; "
              f"erfc / 2 {by_erfc:.6e}, exp(log_ndtr) {torch.special.log_ndtr(x).exp().item():.6e}")
        assert abs(by_erfc / exact - 1) < 1e-4
wide, narrow = torch.tensor(-8.5, dtype=torch.float64), torch.tensor(-5.6)
assert torch.special.ndtr(wide) == 0 and torch.special.ndtr(narrow) == 0, "the behaviour has changed"
assert torch.distributions.Normal(0.0, 1.0).cdf(narrow) == 0
EOF
