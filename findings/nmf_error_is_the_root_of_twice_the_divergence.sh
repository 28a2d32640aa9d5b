#!/usr/bin/env bash
# NMF.reconstruction_err_ under a Kullback-Leibler loss is the square root of twice the divergence: 23.9 for 286.9.
#
# The guess of who reads the page, written before the run by one who already suspected a root: the attribute is the
#   beta-divergence between the data and W H, as its page says, so that the error of two sets of rows is the sum of
#   theirs and minus it is, up to a constant of the data, a Poisson log-likelihood.
# What was seen: with beta_loss "kullback-leibler" and "itakura-saito" it is sqrt(2 D), in NMF and in MiniBatchNMF. For
#   the Frobenius loss this is the norm, which the page names. Data stacked upon themselves have 33.9 where 47.9, twice
#   that of once, is right for any reading that adds up over rows.
# Why it matters: the drop from two components to three is read as nats and is not; a likelihood ratio or an
#   information criterion from it picks too few components. Square it and halve it.
# Versions: scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1. Source: the page of NMF has "Frobenius norm of the matrix
#   difference, or beta-divergence"; sklearn/decomposition/_nmf.py asks for square_root=True whatever the loss.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import numpy as np
import sklearn
from scipy import stats
from sklearn.decomposition import NMF, MiniBatchNMF

print("scikit-learn", sklearn.__version__)
generator = np.random.default_rng(0)
rates = generator.gamma(2.0, size=(60, 2)) @ generator.gamma(2.0, size=(2, 12))
counts = generator.poisson(rates).astype(float)
DIVERGENCES = {
    "kullback-leibler": lambda x, y: (stats.poisson.logpmf(x, np.maximum(x, 1e-300))
                                      - stats.poisson.logpmf(x, y)).sum(),  # of rounded data
    "itakura-saito": lambda x, y: (x / y - np.log(x / y) - 1).sum(),
}
for loss, divergence in DIVERGENCES.items():
    data = counts if loss == "kullback-leibler" else counts + 0.01
    for kind, options in ((NMF, {"solver": "mu", "max_iter": 500}), (MiniBatchNMF, {})):
        model = kind(2, beta_loss=loss, random_state=0, init="nndsvda", **options)
        right = divergence(data, model.fit_transform(data) @ model.components_)
        told = model.reconstruction_err_
        print(f"{kind.__name__}, {loss}: expected {right:.2f}, seen {told:.2f}, the root of twice it "
              f"{np.sqrt(2 * right):.2f}")
        assert abs(told - np.sqrt(2 * right)) < 1e-4 * told and told < right / 5, "the behaviour has changed"
model = NMF(2, random_state=0, init="nndsvda", max_iter=2000)
norm = np.linalg.norm(counts - model.fit_transform(counts) @ model.components_)
print(f"NMF, frobenius: expected the norm {norm:.2f}, seen {model.reconstruction_err_:.2f}")
assert abs(model.reconstruction_err_ - norm) < 1e-6
once, twice = (
    NMF(2, beta_loss="kullback-leibler", solver="mu", max_iter=2000, tol=1e-9, random_state=0, init="nndsvda").fit(rows)
    .reconstruction_err_ for rows in (counts, np.tile(counts, (2, 1)))
)
print(f"the data and the data twice: expected {once:.2f} and {2 * once:.2f}, seen {once:.2f} and {twice:.2f}")
assert abs(twice / once - np.sqrt(2)) < 0.01, "the behaviour has changed"
EOF
