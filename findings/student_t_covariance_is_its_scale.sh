#!/usr/bin/env bash
# MultivariateStudentT.covariance_matrix is not the covariance, and its diagonal is not .variance.
#
# The guess, before the run: covariance_matrix is the covariance, df / (df - 2) times the scale matrix, as .variance
#   is on the diagonal and as covariance_matrix is in MultivariateNormal.
# What was seen: it is the scale matrix itself, in Pyro and in NumPyro: for 3 degrees of freedom a third of the
#   covariance. .variance is right, so that one object has two variances; precision_matrix is wrong in the same way.
# Why it matters: whoever swaps a normal for a heavier tail keeps the code that reads .covariance_matrix, for credible
#   ellipses, whitening or a Laplace or Gaussian approximation by moments. Multiply by df / (df - 2).
# Versions: Pyro 1.9.2, NumPyro 0.22.0, torch 2.13.0. Source: pyro/distributions/multivariate_studentt.py and
#   numpyro/distributions/continuous.py; a comment in the source knows, the documentation has no word of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 scipy==1.17.1 pyro-ppl==1.9.2 \
    numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import jax
import numpy as np
import numpyro.distributions as numpyro_dist
import pyro.distributions as pyro_dist
import torch

scale = np.array([[2.0, 0.5], [0.5, 1.0]], dtype=np.float32)
factor, loc, num_draws = np.linalg.cholesky(scale), np.zeros(2, dtype=np.float32), 200_000
torch.manual_seed(0)
for df in (3.0, 6.0):
    exact = df / (df - 2) * scale
    of_torch = pyro_dist.MultivariateStudentT(torch.tensor(df), torch.tensor(loc), torch.tensor(factor))
    of_jax = numpyro_dist.MultivariateStudentT(df, loc, factor)
    drawn = {"pyro-ppl": of_torch.sample((num_draws,)), "numpyro": of_jax.sample(jax.random.key(0), (num_draws,))}
    for name, law in (("pyro-ppl", of_torch), ("numpyro", of_jax)):
        told, variance, precision = (np.asarray(each) for each in (
            law.covariance_matrix, law.variance, law.precision_matrix))
        print(f"{name} {version(name)}, df {df:g}: covariance in closed form {exact.ravel().round(2)}, of draws "
              f"{np.cov(np.asarray(drawn[name]).T).ravel().round(2)}, covariance_matrix {told.ravel().round(2)}, "
              f"variance {variance.round(2)}")
        assert np.allclose(variance, exact.diagonal(), rtol=1e-4)
        assert np.allclose(told, scale, atol=1e-4), "the behaviour has changed"
        assert np.allclose(precision @ scale, np.eye(2), atol=1e-4), "the behaviour has changed"
EOF
