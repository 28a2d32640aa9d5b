#!/usr/bin/env bash
# A gradient that becomes zero leaves Adam's first moment at a subnormal number for ever, and SGD's momentum too.
#
# The guess, before the run: with zero gradients exp_avg is multiplied by .9 at each step, so that after a thousand
#   steps it has underflown to exactly 0, whichever implementation computes it.
# What was seen: it stays at 5.6e-45, four times the smallest subnormal number of float32, of which .9 rounds to itself,
#   for every weight and for ever: plain, foreach and fused alike, and momentum_buffer of SGD at .9 the same. In double
#   precision it stays at 2.5e-323. torch.set_flush_denormal(True) ends it at 0, as does a threshold of one's own.
# Why it matters: the weights of a unit that has died, of a class that comes no more or of a pixel that is off from some
#   step on are computed with subnormal numbers until the end of the training, which is slow on some processors, and a
#   count of moments that are zero finds none. Adam in ppl_vae's captured steps sets such moments to zero
#   (ppl_vae/inference/compilation/adam.py).
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6. Source: the page of torch.set_flush_denormal, which names no
#   optimiser; IEEE 754 rounds .9 of four units to 3.6, which is four.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'EOF'
import torch

print("torch", torch.__version__)


def last_moment(optimiser, key, dtype, flush, **arguments):
    """The first moments of 1000 weights that had five gradients and then 12,000 steps with zero ones."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(1000, dtype=dtype))
    rule = optimiser([weight], lr=1e-3, **arguments)
    torch.set_flush_denormal(flush)
    for step in range(12_000):
        weight.grad = 1e-3 * torch.randn(1000, dtype=dtype) if step < 5 else torch.zeros(1000, dtype=dtype)
        rule.step()
    torch.set_flush_denormal(False)
    return rule.state[weight][key]


cases = [("Adam, " + how, torch.optim.Adam, "exp_avg", {how: True}) for how in ("foreach", "fused")]
cases += [("Adam, plain", torch.optim.Adam, "exp_avg", {"foreach": False})]
cases += [("SGD", torch.optim.SGD, "momentum_buffer", {"momentum": 0.9})]
for dtype in (torch.float32, torch.float64):
    unit = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for name, optimiser, key, arguments in cases:
        left = last_moment(optimiser, key, dtype, False, **arguments)
        flushed = last_moment(optimiser, key, dtype, True, **arguments)
        print(f"{name:13} {dtype}: expected 0, seen {left.abs().max():.1e}, in {(left != 0).sum()} of 1000 weights; "
              f"with set_flush_denormal {flushed.abs().max():.0f}")
        assert (flushed == 0).all(), "no flush on this processor"
        assert ((left.abs() > 0) & (left.abs() <= 8 * unit)).all(), "the behaviour has changed"
EOF
