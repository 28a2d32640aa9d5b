#!/usr/bin/env bash
# A trained autoguide silently becomes the next one of its kind, though the store was cleared between the two.
#
# The guess, before the run: two AutoNormals trained one after the other meet in the parameter store, so one calls
#   pyro.clear_param_store() between them, as the documentation says. The first is an nn.Module and has its own
#   nn.Parameters, so that afterwards each answers with what it was trained to.
# What was seen: it does until it is called. At its first call after the second one's training (in Predictive, a loss, or
#   by hand) the first guide's own parameters are replaced by the second's: its mean goes from 3.0 to -3.0, and the two
#   share tensors from then on. What it had learned is gone, without a warning. Its median(), which does not pass the
#   store, is right before and wrong after.
# Why it matters: comparing two fits of one program, as of two data sets or two seeds, is what a notebook does. Keep
#   copies of state_dict(), or call each guide inside pyro.get_param_store().scope().
# Versions: pyro-ppl 1.9.2, torch 2.13.0. Source: pyro/nn/module.py, PyroModule.__getattr__: what the store has under
#   the name goes into the module.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 pyro-ppl==1.9.2 numpy
"$work/venv/bin/python" -W error -W ignore::DeprecationWarning - <<'PY'
import pyro
import torch
from pyro import distributions as dist
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

print("pyro-ppl", pyro.__version__, "torch", torch.__version__)


def model(x=None):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("data", 50):
        return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def trained(x):
    pyro.clear_param_store()
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(600):
        svi.step(x)
    return guide


torch.manual_seed(0)
noise = torch.randn(50)
noise -= noise.mean()
first, second = trained(noise + 3.0), trained(noise - 3.0)
before = [guide.median()["mean"].item() for guide in (first, second)]
Predictive(model, guide=first, num_samples=10)()
after = [guide.median()["mean"].item() for guide in (first, second)]
shared = dict(first.named_parameters())["locs.mean_unconstrained"] is dict(second.named_parameters())["locs.mean_unconstrained"]
print("medians of the two guides: expected 3.0 and -3.0")
print(f"seen before the first is called {before[0]:.1f} and {before[1]:.1f}, after it {after[0]:.1f} and {after[1]:.1f}")
print("they share their tensors:", shared)
assert abs(before[0] - 3.0) < 0.3 and abs(before[1] + 3.0) < 0.3, "the behaviour has changed"
assert after[0] == after[1] == before[1] and shared, "the behaviour has changed"
PY
