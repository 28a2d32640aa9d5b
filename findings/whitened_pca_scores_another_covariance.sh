#!/usr/bin/env bash
# PCA(whiten=True) of scikit-learn has another covariance, and another log-likelihood, than the same PCA unwhitened.
#
# The guess, before the run: whiten scales what transform gives, and leaves the fitted model alone: get_covariance,
#   get_precision and score are those of probabilistic PCA either way. With all components kept the covariance is the
#   data's.
# What was seen: under whiten=True every component's variance enters times itself. Data with variances 9, 4, 1 and .25
#   have a model with 81, 16, 1 and .06, and a mean log-likelihood of -8.6 where -6.8 is right; the more the scales
#   differ from 1, the worse.
# Why it matters: score is cross-validated to choose the number of components, and is the yardstick of a linear VAE;
#   whitening first is habit. The same holds of anomaly scores by score_samples.
# Versions: scikit-learn 1.9.1. Source: sklearn/decomposition/_base.py, get_covariance and get_precision multiply the
#   components by the root of their variance, although components_ have length 1.
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
variances = np.array([9.0, 4.0, 1.0, 0.25])
data = np.random.default_rng(0).normal(size=(20_000, 4)) * np.sqrt(variances)
covariance = np.cov(data.T)
for num_components in (4, 2):
    eigenvalues, directions = np.linalg.eigh(covariance)
    kept = np.where(np.arange(4) >= 4 - num_components, eigenvalues, eigenvalues[: 4 - num_components or 4].mean())
    exact = directions * kept @ directions.T
    right = multivariate_normal(data.mean(0), exact).logpdf(data).mean()
    for whiten in (False, True):
        fitted = PCA(num_components, whiten=whiten).fit(data)
        told = fitted.get_covariance()
        print(f"{num_components} components, whiten={whiten}: variances in closed form {exact.diagonal().round(2)}, "
              f"told {told.diagonal().round(2)}; mean log p(x) {right:.3f}, told {fitted.score(data):.3f}")
        assert np.allclose(np.linalg.norm(fitted.components_, axis=1), 1)
        if not whiten:
            assert np.allclose(told, exact, atol=1e-3) and abs(fitted.score(data) - right) < 1e-3
    assert fitted.score(data) < right - 0.1, "the behaviour has changed"
    assert num_components == 2 or np.allclose(told.diagonal(), exact.diagonal() ** 2, rtol=0.05), "it has changed"
EOF
