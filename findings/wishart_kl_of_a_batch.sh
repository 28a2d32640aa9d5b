#!/usr/bin/env bash
# The KL divergence of a batch of Wisharts is not that of its elements, and has no gradient.
#
# The guess, before the run: kl_divergence of two Wisharts with a batch of two gives the two divergences, and a gradient
#   flows to the degrees of freedom of the first.
# What was seen: 7.17 and 3.83 where one by one it is .8955 and 1.3082, which are right by the closed form; and
#   requires_grad is False for a parameter of the first. Under torch.no_grad() it ends in a RuntimeError.
# Why it matters: a Wishart guide or prior on a precision matrix, in a batch or under a closed-form ELBO.
# Versions: torch 2.13.0. Source: torch/distributions/kl.py, _kl_expfamily_expfamily: the term of every natural parameter
#   is summed over the two event dimensions, also that of the degrees of freedom, which has none; the parameters of the
#   first are detached.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy
"$work/venv/bin/python" -W error - <<'PY'
import torch
from torch.distributions import Wishart, kl_divergence

print("torch", torch.__version__)
df = torch.tensor([7.0, 9.0], requires_grad=True)
scale, eye = torch.tensor([[1.0, 0.3], [0.3, 0.5]]), torch.eye(2)
seen = kl_divergence(
    Wishart(df, covariance_matrix=scale.expand(2, 2, 2)), Wishart(torch.full((2,), 5.0), eye.expand(2, 2, 2))
)


def exact(n, m=5.0, d=2):
    digamma = torch.digamma(torch.tensor([n / 2, (n - 1) / 2])).sum()
    gammas = torch.mvlgamma(torch.tensor(m / 2), d) - torch.mvlgamma(torch.tensor(n / 2), d)
    trace = scale.diagonal().sum() - d
    return (-m / 2 * torch.logdet(scale) + n / 2 * trace + gammas + (n - m) / 2 * digamma).item()


expected = [exact(7.0), exact(9.0)]
print("expected", [round(each, 4) for each in expected], "seen", [round(each, 4) for each in seen.tolist()])
(slope,) = torch.autograd.grad(seen.sum(), df, allow_unused=True)
print("gradient to the degrees of freedom of the first:", slope)
assert max(abs(a - b) for a, b in zip(expected, seen.tolist())) > 1 and slope is None, "the behaviour has changed"
PY
