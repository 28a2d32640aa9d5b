#!/usr/bin/env bash
# geoopt sends a hyperboloid of any curvature into the unit ball: distances are kept for k = 1 alone.
#
# The guess, before the run: lorentz_to_poincare(x, k) takes the points of Lorentz(k), whose curvature is -1/k, to the
#   points of PoincareBall(c=1/k), which has the same curvature, and keeps their distances, as the isometry of the two
#   models does.
# What was seen: for k = 1 it does. For k = 2.5 distances in PoincareBall(1/k) are a half too short; for k = 0.4 they are
#   too long, and points lie outside the ball, whose radius is sqrt(k). Taken sqrt(k) times, the result is right.
# Why it matters: a VAE with a code on Lorentz(k) and a learned curvature, drawn in the disk or compared with one on
#   PoincareBall(c), gets figures and distances of another geometry, unnoticed while k is 1, the default.
# Versions: geoopt 0.5.1, torch 2.13.0. Source: lorentz_to_poincare and poincare_to_lorentz in
#   geoopt/manifolds/lorentz/math.py; their docstring names "the Poincare disk" without its curvature.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1 geoopt==0.5.1
"$work/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from geoopt import Lorentz, PoincareBall
from geoopt.manifolds.lorentz.math import lorentz_to_poincare

torch.set_default_dtype(torch.float64)
print("geoopt", version("geoopt"))
space = torch.tensor([[0.6, -0.2, 0.4], [-0.5, 0.3, 0.9]])
for k in (1.0, 2.5, 0.4):
    time = (k + space.square().sum(-1, keepdim=True)).sqrt()
    points = torch.cat([time, space], -1)
    exact = k**0.5 * torch.arccosh((time[0] * time[1] - space[0] @ space[1]) / k).item()
    hyperboloid, ball = Lorentz(k), PoincareBall(1 / k)
    assert abs(hyperboloid.dist(*points).item() - exact) < 1e-9
    disk = lorentz_to_poincare(points, hyperboloid.k)
    told, scaled = ball.dist(*disk).item(), ball.dist(*(k**0.5 * disk)).item()
    inside = bool((disk.norm(dim=-1) < k**0.5).all())
    print(f"k = {k}: distance {exact:.4f}, after lorentz_to_poincare {told:.4f} (inside the ball: {inside}), "
          f"of the result times sqrt(k) {scaled:.4f}")
    assert abs(scaled - exact) < 1e-9
    assert (abs(told - exact) < 1e-9) if k == 1 else abs(told - exact) > 0.2 * exact
PYTHON
