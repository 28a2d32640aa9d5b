#!/usr/bin/env bash
# Draws of Pyro's SineBivariateVonMises do not follow its density; NumPyro's do.
#
# The guess, before the run: the density integrates to one over the torus and draws by rejection follow it, so that
#   means of cos(phi) agree with quadrature; without correlation phi is a plain von Mises variable, E cos = I1(k) / I0(k).
# What was seen: the density is right, the draws are not. With concentrations 2 and 3 and correlation 0, E cos(phi) is
#   .698 by quadrature and by Bessel functions and .615 from 200,000 draws; with correlation 2 and concentrations 5,
#   E sin(phi) sin(psi) is .068 against .094. psi, drawn given phi, is right. NumPyro's port of the same sampler agrees
#   with quadrature everywhere.
# Why it matters: SVI with such a guide averages over another law than the one whose density it takes, so its "ELBO"
#   is no bound; simulation-based calibration of a model with it fails whatever the guide.
# Versions: pyro-ppl 1.9.2 with torch 2.13.0; numpyro 0.22.0 with jax 0.10.2. Source: sample in
#   pyro/distributions/sine_bivariate_von_mises.py; the scale of the proposal was mended in NumPyro in 2023
#   (github.com/pyro-ppl/numpyro/pull/1628), where a reviewer asks for the same in Pyro.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1 pyro-ppl==1.9.2 \
  numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
"$work/venv/bin/python" - <<'PYTHON'
import jax
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as dist
import torch
from scipy.special import i0, i1

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
pyro.set_rng_seed(0)
N = 200_000
angles = torch.arange(600) * 2 * torch.pi / 600 - torch.pi
torus = torch.stack(torch.meshgrid(angles, angles, indexing="ij"), -1)
cell = (2 * torch.pi / 600) ** 2


def statistics(x):
    return np.stack([np.cos(x[..., 0]), np.cos(x[..., 1]), np.sin(x[..., 0]) * np.sin(x[..., 1])], -1)


def compare(k1, k2, r):
    ours = dist.SineBivariateVonMises(*map(torch.tensor, (0.0, 0.0, k1, k2, r)))
    density = ours.log_prob(torus).exp().numpy()[..., None]
    exact = (density * statistics(torus.numpy())).sum((0, 1)) * cell
    theirs = ndist.SineBivariateVonMises(0.0, 0.0, k1, k2, r).sample(jax.random.PRNGKey(0), (N,))
    drawn = [statistics(np.asarray(x)) for x in (ours.sample((N,)), theirs)]
    errors = [(s.mean(0) - exact) / (s.std(0) / N**0.5) for s in drawn]
    print(f"k = ({k1}, {k2}), r = {r}: mass {density.sum() * cell:.6f}, exact {exact.round(4)}")
    for name, s, z in zip(("pyro", "numpyro"), drawn, errors, strict=True):
        print(f"  {name:8s}{s.mean(0).round(4)}   in standard errors {z.round(1)}")
    return density.sum() * cell, exact, errors


print("pyro-ppl", pyro.__version__, "numpyro", numpyro.__version__)
for case in ((2.0, 3.0, 0.0), (5.0, 5.0, 2.0)):
    mass, exact, (ours, theirs) = compare(*case)
    assert abs(mass - 1) < 1e-9
    assert abs(ours[0]) > 50 and abs(ours[1]) < 40
    assert (abs(theirs) < 5).all()
    if case[2] == 0:
        assert np.isclose(exact[0], i1(2.0) / i0(2.0))
PYTHON
