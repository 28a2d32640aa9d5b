#!/usr/bin/env bash
# ChainedScheduler of torch drops what the schedulers before a CosineAnnealingWarmRestarts or a LambdaLR did.
#
# The guess, before the run: the learning rate is the product of the schedules, as it is to every digit for a
#   LinearLR warm-up chained with an ExponentialLR or a CosineAnnealingLR; otherwise the constructor refuses.
# What was seen: a warm-up from .1 over 5 epochs chained with warm restarts starts at the full rate,
#   1, and the warm-up never shows. With ExponentialLR after a LambdaLR
#   the decay is applied once, not once an epoch: each epoch the closed form of LambdaLR overwrites it.
# Why it matters: a warm-up protects a VAE's first steps, and warm restarts go with cyclical annealing of the KL
#   weight. Such a run has no warm-up, and only a log of the rate tells.
# Versions: torch 2.13.0 (CPU build). Source: the page of ChainedScheduler says "chainable schedulers" and nothing
#   checks it; in torch/optim/lr_scheduler.py get_lr of these two works from base_lrs, not from the current rate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import math

import torch
from torch.optim.lr_scheduler import (ChainedScheduler, CosineAnnealingLR, CosineAnnealingWarmRestarts,
                                      ExponentialLR, LambdaLR, LinearLR)


def rates(*makers, epochs=8):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ChainedScheduler([make(optimizer) for make in makers])
    seen = []
    for _ in range(epochs):
        seen.append(round(optimizer.param_groups[0]["lr"], 3))
        optimizer.step()
        scheduler.step()
    return seen


def product(f, g):
    return [round(f(i) * g(i), 3) for i in range(8)]


warm = lambda optimizer: LinearLR(optimizer, 0.1, 1.0, 5)
ramp = lambda i: min(1.0, 0.1 + 0.18 * i)
restarts = lambda i: (1 + math.cos(math.pi * (i % 5) / 5)) / 2
cases = {
    "warm-up, cosine": (product(ramp, lambda i: (1 + math.cos(math.pi * i / 10)) / 2),
                        rates(warm, lambda o: CosineAnnealingLR(o, 10))),
    "warm-up, warm restarts": (product(ramp, restarts), rates(warm, lambda o: CosineAnnealingWarmRestarts(o, 5))),
    "1/(1+t), .9^t": (product(lambda i: 1 / (1 + i), lambda i: 0.9**i),
                      rates(lambda o: LambdaLR(o, lambda t: 1 / (1 + t)), lambda o: ExponentialLR(o, 0.9))),
}
print("torch", torch.__version__)
for name, (expected, seen) in cases.items():
    print(f"{name}\n  expected {expected}\n  seen     {seen}")
assert cases["warm-up, cosine"][0] == cases["warm-up, cosine"][1]
assert cases["warm-up, warm restarts"][1] == [round(restarts(i), 3) for i in range(8)], "the behaviour has changed"
assert cases["1/(1+t), .9^t"][1][2] == 0.3, "the behaviour has changed"
EOF
