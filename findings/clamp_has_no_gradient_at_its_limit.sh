#!/usr/bin/env bash
# The gradient of clamp at its limit is 0 from torch 2.14 on; up to 2.13 it was 1, and with a limit that is a tensor
# it is 1/2.
#
# The guess, before the run: x.clamp(min=0) passes the gradient on where x >= 0, the limit included, as torch had it for
#   years; and a limit means the same whether it is written as a number or as a tensor.
# What was seen: 0 at the limit for a number, 1/2 for a tensor of the same value, 1 beside it. Torch 2.13.0 gives 1 for
#   both. Values are the same, and nothing warns.
# Why it matters: a density in two forms is often written as where(x < a, f(x.clamp(max=a)), g(x.clamp(min=a))), so that
#   neither form is given what it cannot take. At x = a exactly, such as a datum at a limit that is the mean of a
#   network at its start, the density is right and its gradient 0: log Phi(u) at u = 0 below. Write
#   where(x < a, x, constant) in its place.
# Versions: torch 2.14.1 (its wheel needs the CUDA libraries, several GB); 2.13.0 for comparison.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.14.1 numpy
"$work/venv/bin/python" -W error - <<'PY'
import math

import torch

print("torch", torch.__version__)


def slope(function, at):
    x = torch.tensor(at, dtype=torch.double, requires_grad=True)
    function(x).backward()
    return x.grad.item()


half = torch.tensor(0.5, dtype=torch.double)
for name, function in (
    ("clamp(min=0.5)", lambda x: x.clamp(min=0.5)),
    ("clamp(max=0.5)", lambda x: x.clamp(max=0.5)),
    ("clamp_min(0.5)", lambda x: x.clamp_min(0.5)),
):
    seen = slope(function, 0.5)
    print(f"{name} at 0.5: expected 1, seen {seen}")
    assert seen == 0, "the behaviour has changed"
seen = slope(lambda x: x.clamp(min=half), 0.5)
print(f"clamp(min=tensor(0.5)) at 0.5: expected 1, seen {seen}")
assert seen == 0.5, "the behaviour has changed"


def log_tail(u):
    """The log of Phi(u): by erfcx where u is negative, by erfc elsewhere."""
    t = -u.clamp(max=0) / math.sqrt(2)
    left = (0.5 * torch.special.erfcx(t)).log() - t.square()
    right = (-0.5 * torch.special.erfc(u.clamp(min=0) / math.sqrt(2))).log1p()
    return torch.where(u < 0, left, right)


exact = math.sqrt(2 / math.pi)
seen, beside = slope(log_tail, 0.0), slope(log_tail, 1e-9)
print(f"d log Phi(u) / du at 0: expected {exact:.4f}, seen {seen:.4f}; at 1e-9 {beside:.4f}")
assert seen == 0 and abs(beside - exact) < 1e-6, "the behaviour has changed"
PY
