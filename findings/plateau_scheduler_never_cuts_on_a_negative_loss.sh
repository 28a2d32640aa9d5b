#!/usr/bin/env bash
# ReduceLROnPlateau takes a stalled, and even a worsening, metric for an improvement where the metric is negative.
#
# The guess, before the run: fed the constant -100 for 200 epochs with patience 5, the scheduler cuts the learning
#   rate as it does for the constant 100.
# What was seen: for a negative constant it never cuts, with mode="max" (an ELBO) and with mode="min" (a negative
#   log-likelihood of a density, below zero) alike. A loss that worsens by 5e-5 of itself each epoch counts as a
#   new best every time. threshold_mode="abs" behaves as one thinks.
# Why it matters: the ELBO of a discrete likelihood is always negative, and the loss of a Gaussian decoder with
#   a small scale is: with the default threshold_mode the schedule of such a VAE does nothing and nothing says so.
# Versions: torch 2.13.0 (CPU build). Source: the page of torch.optim.lr_scheduler.ReduceLROnPlateau gives the rule,
#   best * (1 + threshold) for "max" and best * (1 - threshold) for "min": the wrong side of a negative best.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import torch


def rate_after(values, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5, **options)
    for value in values:
        scheduler.step(value)
    return optimizer.param_groups[0]["lr"]


print("torch", torch.__version__, "- the learning rate started at 1; expected after a plateau: about 1e-8")
constant, worse = [-100.0] * 200, [-100.0 * (1 - 5e-5) ** epoch for epoch in range(200)]
seen = {
    "constant +100, min": rate_after([100.0] * 200, mode="min"),
    "constant -100, min": rate_after(constant, mode="min"),
    "constant -100, max": rate_after(constant, mode="max"),
    f"from -100 up to {worse[-1]:.2f}, min": rate_after(worse, mode="min"),
    "constant -100, min, abs": rate_after(constant, mode="min", threshold_mode="abs"),
}
for name, rate in seen.items():
    print(f"{name:32} lr {rate:.0e}")
cut, *never, absolute = seen.values()
assert cut < 1e-6 and absolute < 1e-6
assert never == [1.0, 1.0, 1.0], "the behaviour has changed"
EOF
