#!/usr/bin/env bash
# Pyro's LocScaleReparam on a site that is conditioned: the data, or the Jacobian, leaves the density without a word.
#
# The guess, before the run: with x conditioned outside of poutine.reparam the log joint is log p(s) + log p(x | s),
#   or there is an error; conditioned inside of it, or given as obs=, the log joint is right.
# What was seen: outside, x is put in as a constant with density 1 beside a free x_decentered: the data do not reach
#   the posterior, which is the prior. Inside and with obs= the density of the decentred value is used without
#   its Jacobian: log s is missing, so a learned scale of a likelihood grows without end. NumPyro's handler refuses
#   the two inside cases and ignores the data in the outside one.
# Why it matters: a config function, or a strategy that reparameterises "every Normal", is applied to a decoder's
#   observed site, or the trained model is conditioned afterwards, which is the usual order of composition.
# Versions: pyro-ppl 1.9.2, torch 2.13.0. Source: the page of pyro.infer.reparam ("only for latent variables, not
#   likelihoods") with no check in loc_scale.py; a comment in poutine/reparam_messenger.py on ConditionMessenger.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2
"$work/venv/bin/python" -W error - <<'EOF'
import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam

DATA = torch.tensor(5.0)


def model(x=None):
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    return pyro.sample("x", dist.Normal(0.0, s), obs=x)


def log_joint(program, s, *args):
    pyro.set_rng_seed(0)
    program = poutine.condition(program, {"s": torch.tensor(s)})
    trace = poutine.trace(program).get_trace(*args)
    trace.compute_log_prob()
    # A free latent integrates to 1: what counts is where the data are.
    return sum(trace.nodes[name]["log_prob_sum"].item() for name in trace.observation_nodes)


config = {"x": LocScaleReparam(0.0)}
print("pyro-ppl", pyro.__version__, "- log p(s, x=5)")
for s in (0.5, 5.0):
    plain = log_joint(poutine.condition(model, {"x": DATA}), s)
    outside = log_joint(poutine.condition(poutine.reparam(model, config), {"x": DATA}), s)
    inside = log_joint(poutine.reparam(poutine.condition(model, {"x": DATA}), config), s)
    observed = log_joint(poutine.reparam(model, config), s, DATA)
    prior = dist.LogNormal(0.0, 1.0).log_prob(torch.tensor(s)).item()
    print(f"s={s}: expected {plain:.3f} thrice; seen outside {outside:.3f} (the prior of s alone: {prior:.3f}), "
          f"inside {inside:.3f}, obs= {observed:.3f} (off by log s = {math.log(s):.3f})")
    assert math.isclose(outside, prior, abs_tol=1e-5), "the behaviour has changed"
    assert math.isclose(inside - plain, math.log(s), abs_tol=1e-4) and inside == observed, "the behaviour has changed"
EOF
