#!/usr/bin/env bash
# The density of a new Gaussianization flow of zuko has half its mass, and half of its draws are at the bounds.
#
# The guess, before the run: the page warns that the flow can be inverted within [-10, 10] only; the density is one all
#   the same, of mass 1 on the line, and the draws of a new flow of one feature lie inside.
# What was seen: with the default three transformations the mass over all of the line is .56 to .87 by the seed, and
#   14 to 50 % of the draws are exactly -10 or 10. With one transformation they are 1 and up to 4 %. Each layer's
#   output ends near 4.9, as its erf is scaled by 1 - 1e-6 before erfinv, and the next layer is given no more than
#   that: a point of the base beyond what the last layer can reach has no preimage at all.
# Why it matters: as a prior or a posterior the flow starts with draws at the corners and a KL that is off by the
#   logarithm of the mass, and a log-likelihood in nats of two such flows is of unnormalised laws. After training on
#   data of unit spread the mass is near 1. As a Delta or a TransformedDistribution in a ppl_vae program its draws and
#   density are as wrong as here; take zuko's NSF, MAF or UNAF, whose mass is 1 to the error of the grid.
# Versions: zuko 1.6.0, torch 2.13.0 (CPU build), numpy 2.4.6. Source: zuko/transforms.py, GaussianizationTransform.f.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 zuko==1.6.0
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import torch
import zuko

print("zuko", version("zuko"), "torch", torch.__version__)
torch.set_num_threads(1)
grid = torch.linspace(-1000, 1000, 800_001)[:, None]
width = (grid[1] - grid[0]).double().item()


def mass_and_bound(kind, **arguments):
    """Mass of the density over the line and the share of the draws at the bound of a new flow."""
    law = kind(features=1, **arguments)()
    with torch.no_grad():
        mass = law.log_prob(grid).double().exp().sum().item() * width
        return mass, (law.sample((10_000,)).abs() > 9.999).double().mean().item()


for seed in range(4):
    torch.manual_seed(seed)
    other = mass_and_bound(zuko.flows.NSF)
    one, three = mass_and_bound(zuko.flows.GF, transforms=1), mass_and_bound(zuko.flows.GF)
    print(f"seed {seed}: mass expected 1, GF {three[0]:.3f}, of one transformation {one[0]:.3f}, NSF {other[0]:.3f}; "
          f"draws at the bound expected 0, GF {three[1]:.3f}, of one transformation {one[1]:.3f}, NSF {other[1]:.3f}")
    assert abs(other[0] - 1) < 0.05 and other[1] == 0 and abs(one[0] - 1) < 2e-3 and one[1] < 0.1
    assert three[0] < 0.95 and three[1] > 0.1, "the behaviour has changed"
EOF
