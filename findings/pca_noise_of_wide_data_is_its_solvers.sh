#!/usr/bin/env bash
# PCA's noise variance, and with it its likelihood, is another by another exact solver where data are wider than many.
#
# The guess, before the run: svd_solver chooses how the same model is computed. "full" and "covariance_eigh" are both
#   exact, so noise_variance_ and score agree to rounding: the mean of the D - q eigenvalues that are left out, zeros
#   among them, as in Tipping and Bishop.
# What was seen: for 20 data of 50 dimensions and 3 components .67 by "covariance_eigh", which is that, and 1.85 by
#   "full" (the default here), "arpack" and "randomized", which leave the 30 zeros out of the mean. Their mean
#   log-likelihood is 9.7 nats below that of the noise of greatest likelihood, the other's .03.
# Why it matters: images and expression data are wider than many, and the noise of probabilistic PCA is what a linear
#   VAE learns. It seems to disagree with its own closed form by a factor of (D - q) / (n - q), without a sign of it.
# Versions: scikit-learn 1.9.1. Source: sklearn/decomposition/_pca.py: noise_variance_ is a mean over the min(n, D) -
#   q values that the decomposition returned.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" - <<'EOF'
import numpy as np
import sklearn
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

print("scikit-learn", sklearn.__version__)
num_data, dimension, kept = 20, 50, 3
data = np.random.default_rng(0).normal(size=(num_data, dimension))
values, directions = np.linalg.eigh(np.cov(data.T))
exact = values[:-kept].mean()


def score(noise):
    model = directions * np.append(np.full(dimension - kept, noise), values[-kept:]) @ directions.T
    return multivariate_normal(data.mean(0), model).logpdf(data).mean()


best = max(score(noise) for noise in np.linspace(0.3, 2.5, 221))
print(f"the mean of the eigenvalues left out {exact:.3f}, mean log p(x) {score(exact):.2f}; the greatest of any noise "
      f"{best:.2f}")
for solver in ("covariance_eigh", "full", "arpack", "randomized", "auto"):
    fitted = PCA(kept, svd_solver=solver, random_state=0).fit(data)
    told = fitted.noise_variance_
    print(f"{solver}: noise {told:.3f}, mean log p(x) {fitted.score(data):.2f}")
    assert abs(fitted.score(data) - score(told)) < 0.05
    factor = 1 if solver == "covariance_eigh" else (dimension - kept) / (num_data - kept)
    assert abs(told / (factor * exact) - 1) < 0.01, "the behaviour has changed"
EOF
