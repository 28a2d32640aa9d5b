"""The beta-VAE score (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl).

Of 64 pairs of data that share one factor's level, the mean absolute difference of the codes is a feature vector;
the score is the held-out accuracy of a linear classifier (logistic regression) that tells which factor was shared.
All but one of the factors suffice for 1 (Kim & Mnih 2018).
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.batches import sharing_pairs
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.standardised import standardised

PAIRS = 64


def beta_vae_score(coded: Coded) -> dict[str, float]:
    """The accuracy; without an active code that of a guess, 1 / F."""
    from sklearn.linear_model import LogisticRegression

    name, num_factors = "beta-vae score", coded.factors.num_factors
    if not coded.num_codes or num_factors == 1:
        return {name: 1.0 / num_factors}
    features, factors = [], []
    for shared, one, other in sharing_pairs(coded.factors, coded.votes, PAIRS, np.random.default_rng(coded.seed)):
        features.append(np.abs(coded.codes[one] - coded.codes[other]).mean(1))
        factors.append(shared)
    x, y = np.concatenate(features), np.concatenate(factors)
    train = np.arange(2 * len(x) // 3)
    x = standardised(x, train)
    if len(np.unique(y[train])) < 2:
        return {name: 1.0 / num_factors}
    classifier = LogisticRegression(max_iter=1000).fit(x[train], y[train])
    return {name: float(classifier.score(x[len(train) :], y[len(train) :]))}
