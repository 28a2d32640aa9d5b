#!/usr/bin/env bash
# BayesianGaussianMixture.lower_bound_ of scikit-learn lies hundreds of nats above the evidence that it bounds.
#
# The guess, before the run: lower_bound_ is an ELBO, so at most log p(X); with one component the variational
#   family holds the exact posterior (normal inverse-Wishart) and the two are equal.
# What was seen: for 200 points of N(0, I) it exceeds the exact log evidence by 184.7 nats in 1 dimension, 369.5 in
#   2 and 928.3 in 5. The constants of the ELBO are left out, and they depend on the number of data, on the dimension,
#   on the priors and on the number of components. GaussianMixture.lower_bound_ is on another scale again: a mean per
#   datum, with its constants.
# Why it matters: the aggregated posterior of a VAE is often fitted with these classes. lower_bound_ cannot be set
#   beside a VAE's ELBO, nor choose a prior, a latent dimension or, strictly, a number of components.
# Versions: scikit-learn 1.9.1, scipy 1.17.1. Source: the page of BayesianGaussianMixture ("lower bound value on the
#   model evidence"); sklearn/mixture/_bayesian_mixture.py, _compute_lower_bound, says that constants are removed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import numpy as np
import sklearn
from scipy.special import multigammaln
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture


def exact(x, kappa, nu):
    """Log evidence of N(mu, S) with S ~ inverse-Wishart(I, nu), mu ~ N(0, S / kappa)."""
    n, d = x.shape
    centred = x - x.mean(0)
    mean = x.mean(0)
    scale = np.eye(d) + centred.T @ centred + kappa * n / (kappa + n) * np.outer(mean, mean)
    gammas = multigammaln((nu + n) / 2, d) - multigammaln(nu / 2, d)
    root = d / 2 * np.log(kappa / (kappa + n))
    return -n * d / 2 * np.log(np.pi) + gammas - (nu + n) / 2 * np.linalg.slogdet(scale)[1] + root


print("scikit-learn", sklearn.__version__)
excess = []
for d in (1, 2, 5):
    x = np.random.default_rng(0).normal(size=(200, d))
    model = BayesianGaussianMixture(
        n_components=1, weight_concentration_prior_type="dirichlet_distribution", mean_prior=np.zeros(d),
        mean_precision_prior=1.0, covariance_prior=np.eye(d), degrees_of_freedom_prior=d, reg_covar=0,
        tol=1e-10, max_iter=500, random_state=0,
    ).fit(x)
    log_evidence = exact(x, 1.0, d)
    excess.append(model.lower_bound_ - log_evidence)
    plain = GaussianMixture(n_components=1, reg_covar=0, random_state=0).fit(x)
    print(f"D={d}: expected lower_bound_ = {log_evidence:.1f}; seen {model.lower_bound_:.1f}; "
          f"GaussianMixture's {plain.lower_bound_:.2f} is its log-likelihood over N: {plain.score(x):.2f}")
assert np.allclose(excess, [184.7, 369.5, 928.3], atol=0.5), "the behaviour has changed"
EOF
