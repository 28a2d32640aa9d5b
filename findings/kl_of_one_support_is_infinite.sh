#!/usr/bin/env bash
# The KL divergence of two densities on the unit interval is infinite by torch's rule, and finite in truth.
#
# The guess, before the run: ContinuousBernoulli and Uniform(0, 1) both live on [0, 1] and are nowhere zero inside, so
#   that kl_divergence gives a finite number either way, as it does for Beta against Uniform(0, 1).
# What was seen: inf in both directions, for every parameter, without a warning. By quadrature it is .0294 and .0297 for
#   probs .3. Beta(2, 3) against Uniform(0, 1) is .2349, as it is by quadrature. An ELBO with such a prior is -inf.
# Why it matters: a uniform prior on [0, 1] beside a continuous-Bernoulli guide, or a test of one against the other.
#   Take the KL by draws.
# Versions: torch 2.13.0. Source: torch/distributions/kl.py: the two rules for this pair compare the ends of the supports
#   with >= and <=, so that equal ends count as one support outside of the other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy
"$work/venv/bin/python" -W error - <<'PY'
import torch
from torch.distributions import Beta, ContinuousBernoulli, Uniform, kl_divergence

print("torch", torch.__version__)
t = (torch.arange(200000, dtype=torch.double) + 0.5) / 200000
zero, one = torch.zeros((), dtype=torch.double), torch.ones((), dtype=torch.double)
unit = Uniform(zero, one)


def quadrature(p, q):
    return (p.log_prob(t).exp() * (p.log_prob(t) - q.log_prob(t))).mean().item()


for probs in (0.05, 0.3, 0.9):
    other = ContinuousBernoulli(torch.tensor(probs, dtype=torch.double))
    for name, p, q in (("KL(CB || U)", other, unit), ("KL(U || CB)", unit, other)):
        seen, exact = kl_divergence(p, q).item(), quadrature(p, q)
        print(f"probs {probs}: {name} expected {exact:.4f}, seen {seen}")
        assert seen == float("inf") and 0 < exact < 2, "the behaviour has changed"
beta = Beta(torch.tensor(2.0, dtype=torch.double), torch.tensor(3.0, dtype=torch.double))
seen, exact = kl_divergence(beta, unit).item(), quadrature(beta, unit)
print(f"KL(Beta(2, 3) || U): expected {exact:.4f}, seen {seen:.4f}")
assert abs(seen - exact) < 1e-4, "the behaviour has changed"
PY
