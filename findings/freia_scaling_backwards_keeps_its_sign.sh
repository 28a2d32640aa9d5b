#!/usr/bin/env bash
# FrEIA's LearnedElementwiseScaling returns the same log-determinant in both directions, and starts at 1 whatever is asked.
#
# The guess, before the run: the log-determinant backwards is the negative of the one forwards, as in FrEIA's coupling
#   blocks, and LearnedElementwiseScaling(init_scale=2.0) multiplies by 2 before it is trained.
# What was seen: with log scales of sum 1.6 both directions say +1.6; autograd says -1.6 backwards. After
#   init_scale=2.0 a vector of ones comes out as ones: the logarithm is multiplied by zeros.
# Why it matters: a prior or guide that samples through the flow and takes the density from that same pass (as a VAE's
#   posterior does) is off by twice the sum, unnoticed while the scales are still 1; training then pushes the scales
#   in the wrong direction without limit.
# Versions: FrEIA 0.2, torch 2.13.0. Source: LearnedElementwiseScaling in FrEIA/modules/fixed_transforms.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1 FrEIA==0.2
"$work/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from FrEIA.modules import GLOWCouplingBlock, LearnedElementwiseScaling, RNVPCouplingBlock

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
x = torch.tensor([[0.3, -1.2, 0.7, 2.0]])


def log_determinants(layer, rev):
    (_,), told = layer([x], rev=rev)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer([v], rev=rev)[0][0], x)[0, :, 0]
    return float(told), float(torch.linalg.slogdet(jacobian)[1])


def network(size_in, size_out):
    return torch.nn.Linear(size_in, size_out)


scaling = LearnedElementwiseScaling([(4,)])
scaling.s.data = torch.tensor([[0.2, 0.3, 0.4, 0.7]])
glow, coupling = (kind([(4,)], subnet_constructor=network) for kind in (GLOWCouplingBlock, RNVPCouplingBlock))
print("FrEIA", version("FrEIA"))
for name, layer in (("GLOWCouplingBlock", glow), ("RNVPCouplingBlock", coupling), ("LearnedElementwiseScaling", scaling)):
    for rev in (False, True):
        told, exact = log_determinants(layer, rev)
        print(f"{name}, rev={rev}: told {told:.4f}, autograd {exact:.4f}")
        wrong = layer is scaling and rev
        assert abs(told - exact) < 1e-9 or wrong
        if wrong:
            assert abs(told - 1.6) < 1e-9 and abs(exact + 1.6) < 1e-9
(started,), _ = LearnedElementwiseScaling([(4,)], init_scale=2.0)([torch.ones(1, 4)])
print("init_scale=2.0 sends ones to", started.tolist())
assert torch.equal(started, torch.ones(1, 4))
PYTHON
