#!/usr/bin/env bash
# StructuredReparam changes the posterior: its density counts the guide's noise, and the Jacobian the other way round.
#
# The guess (written after a first look: an ELBO of a model seen through it lay above log p(x)): a reparameterised model
#   has the posterior and the evidence of the model, whatever the guide is, as NeuTraReparam's has.
# What was seen: for mu ~ N(0, 1) and x = 1 from N(mu, .5), with an AutoStructured guide that is the exact posterior
#   N(.8, .2), the joint density integrates to .337 where p(x) = .239, and NUTS finds a standard deviation of mu of .30
#   to .32 where sqrt(.2) = .447 is exact: the variance is halved, for the posterior is multiplied by the guide again.
# Why it matters: preconditioning is meant for models that are hard to sample, and the better the guide, the surer is the
#   factor of two. No warning is given.
# Versions: pyro-ppl 1.9.2, torch 2.13.0. Source: pyro/infer/autoguide/structured.py, get_deltas: the site mu_aux is a
#   standard normal that is not masked, as NeuTraReparam masks its own, and log_density is that of a guide, - log |dT|.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 pyro-ppl==1.9.2 numpy
"$work/venv/bin/python" -W ignore - <<'EOF'
import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import AutoStructured
from pyro.infer.reparam import StructuredReparam

print("pyro-ppl", pyro.__version__, "torch", torch.__version__)
SCALE = 0.2**0.5


def model():
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(mu, 0.5), obs=torch.tensor(1.0))


guide = AutoStructured(model, conditionals={"mu": "normal"}, init_scale=SCALE)
guide()
with torch.no_grad():
    guide.locs.mu.fill_(0.8)
seen_through = StructuredReparam(guide).reparam(model)


def log_joint(value):
    given = poutine.condition(seen_through, {"mu_aux": value.view(1)})
    return poutine.trace(given).get_trace().log_prob_sum().detach()


aux = torch.linspace(-8, 8, 2001)
evidence = torch.trapezoid(torch.stack([log_joint(value) for value in aux]).exp(), aux).item()
exact = dist.Normal(0.0, 1.25**0.5).log_prob(torch.tensor(1.0)).exp().item()
print(f"integral of the joint density: expected {exact:.3f}, seen {evidence:.3f}")
torch.manual_seed(0)
chain = MCMC(NUTS(seen_through), num_samples=2000, warmup_steps=300, disable_progbar=True)
chain.run()
spread = SCALE * chain.get_samples()["mu_aux"].std().item()
print(f"standard deviation of mu by NUTS: expected {SCALE:.3f}, seen {spread:.3f}")
assert abs(evidence - 0.337) < 0.01, "the behaviour has changed"
assert abs(spread - SCALE / 2**0.5) < 0.03, "the behaviour has changed"
EOF
