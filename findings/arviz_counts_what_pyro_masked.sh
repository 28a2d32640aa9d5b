#!/usr/bin/env bash
# arviz.from_pyro puts data that poutine.mask left out of the model into log_likelihood, and so into LOO and WAIC.
#
# The guess, before the run: an observation that the mask handler excludes has log likelihood 0 in the result (as
#   numpyro.infer.log_likelihood gives under numpyro.handlers.mask) or is left out.
# What was seen: the masked outlier x = 100 has about -4950, though the sampler never saw it. The mask as a method of
#   the distribution, Normal(z, 1).mask(mask), gives 0: two spellings of one model, one posterior, two elpd's.
# Why it matters: the handler is a usual way to have missing values in Pyro. Their placeholders then count in, and
#   here dominate, every comparison of models; drop the masked columns before loo or compare.
# Versions: arviz 0.23.4, pyro-ppl 1.9.2, torch 2.13.0; numpyro 0.22.0 was compared by hand. Source:
#   log_likelihood_to_xarray in arviz/data/io_pyro.py takes site["fn"].log_prob(site["value"]); Pyro keeps
#   the handler's mask in site["mask"].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2 arviz==0.23.4 \
  xarray==2026.9.0 pandas==3.1.1 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import arviz as az
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import HMC, MCMC

MASK, X = torch.tensor([True, False, True]), torch.tensor([0.0, 100.0, 1.0])


def with_handler(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 3), poutine.mask(mask=MASK):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def with_method(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 3):
        pyro.sample("x", dist.Normal(z, 1.0).mask(MASK), obs=x)


print("arviz", az.__version__, "pyro-ppl", pyro.__version__)
seen = []
for model in (with_handler, with_method):
    pyro.set_rng_seed(0)
    mcmc = MCMC(HMC(model, step_size=0.5, num_steps=3), num_samples=50, warmup_steps=10, disable_progbar=True)
    mcmc.run(X)
    pointwise = az.from_pyro(mcmc).log_likelihood["x"].mean(("chain", "draw")).values
    seen.append((mcmc.get_samples()["z"], pointwise))
    mean = seen[-1][0].mean().item()
    print(f"{model.__name__:13} mean of z {mean:.3f}; expected 0 for the second datum; seen", pointwise.round(2))
assert torch.allclose(seen[0][0], seen[1][0], atol=1e-4), "one posterior"
assert seen[0][1][1] < -4000 and seen[1][1][1] == 0, "the behaviour has changed"
EOF
