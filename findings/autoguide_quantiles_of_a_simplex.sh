#!/usr/bin/env bash
# quantiles() and median() of Pyro's and NumPyro's AutoNormal are no quantiles where the support is a simplex.
#
# The guess, before the run: quantiles([.1, .5, .9]) of a Dirichlet site gives, for each coordinate, what
#   the empirical quantiles of draws from the guide tend to.
# What was seen: a "10% quantile" of the last coordinate above its "90% quantile" (.69 and .08 where draws have .11
#   and .57). The quantiles of the unconstrained coordinates are sent through stick-breaking, all low ones
#   together, and what is left over for the last coordinate is then large. Each row sums to 1.
# Why it matters: a credible interval read from these calls is wrong in width and direction, and for the mixture
#   weights or topic proportions of a VAE's prior that is the usual call. Use quantiles of draws. Any transform that
#   mixes coordinates is open to the same; coordinatewise ones are exact.
# Versions: pyro-ppl 1.9.2 with torch 2.13.0; numpyro 0.22.0 with jax 0.10.2. Source: quantiles in
#   pyro/infer/autoguide/guides.py ("posterior quantiles of each latent variable") and in numpyro/infer/autoguide.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2 numpyro==0.22.0 jax==0.10.2
"$work/venv/bin/python" - <<'EOF'
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as dist
import torch
from numpyro.infer.autoguide import AutoNormal as NumPyroAutoNormal
from pyro.infer.autoguide import AutoNormal

LEVELS = [0.1, 0.5, 0.9]
pyro.set_rng_seed(0)
guide = AutoNormal(lambda: pyro.sample("w", dist.Dirichlet(torch.ones(3))), init_scale=1.0,
                   init_loc_fn=pyro.infer.autoguide.init_to_mean)
guide()
ours = torch.stack(list(guide.quantiles(LEVELS)["w"])).detach().numpy()
with torch.no_grad():
    draws = np.quantile(np.stack([guide()["w"].numpy() for _ in range(4000)]), LEVELS, axis=0)
print("pyro-ppl", pyro.__version__, "expected (draws):\n", draws.round(2), "\nseen:\n", ours.round(2))

other = NumPyroAutoNormal(lambda: numpyro.sample("w", ndist.Dirichlet(jnp.ones(3))),
                          init_loc_fn=numpyro.infer.init_to_mean, init_scale=1.0)
svi = numpyro.infer.SVI(lambda: numpyro.sample("w", ndist.Dirichlet(jnp.ones(3))), other,
                        numpyro.optim.Adam(0.01), numpyro.infer.Trace_ELBO())
params = svi.get_params(svi.init(jax.random.key(0)))
theirs = np.asarray(other.quantiles(params, LEVELS)["w"])
print("numpyro", numpyro.__version__, "seen:\n", theirs.round(2))
assert (np.diff(draws, axis=0) > 0).all()
for table in (ours, theirs):
    assert table[0, 2] > table[2, 2] and np.allclose(table.sum(1), 1, atol=1e-5), "the behaviour has changed"
EOF
