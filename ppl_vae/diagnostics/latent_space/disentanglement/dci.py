r"""Disentanglement, completeness, informativeness (Eastwood & Williams 2018).

https://openreview.net/forum?id=By-7dz-AZ

    R_ij the importance of code i to a learner of factor j
    D = sum_i w_i (1 - H_F(R_i. / sum R_i.)),   w_i the share of code i in all of R, H_b the entropy to base b
    C = sum_j v_j (1 - H_L(R_.j / sum R_.j)),   v_j the share of factor j
    I = mean over factors of the accuracy on held-out data (their error is 1 - I)

The paper's learner is a random forest, whose trees look at all codes here, because a choice of codes by chance
gives importance to useless ones. "gradient-boosting" is the learner of disentanglement_lib (Locatello et al. 2019).
Their numbers are not comparable, nor do they agree on codes that mix factors.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.errors import ModelError, unknown_name

LEARNERS = ("random-forest", "gradient-boosting")


def dci(coded: Coded) -> dict[str, float]:
    """The three scores; without an active code 0, 0 and the share of the commonest level."""
    importance, accuracy = dci_importance(coded)
    return {
        "dci disentanglement": disentanglement(importance),
        "dci completeness": disentanglement(importance.T),
        "dci informativeness": float(accuracy.mean()),
    }


def dci_importance(coded: Coded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The importances R [L, F], and the accuracy of every factor's learner on held-out data [F].

    Raises:
        ModelError: an unknown learner.
    """
    if coded.learner not in LEARNERS:
        raise ModelError(unknown_name("learner", coded.learner, LEARNERS))
    (train, test), levels = coded.halves, coded.factors.levels
    importance = np.zeros((coded.num_codes, coded.factors.num_factors))
    accuracy = np.zeros(coded.factors.num_factors)
    for factor, wanted in enumerate(levels.T):
        values, counts = np.unique(wanted[train], return_counts=True)
        if not coded.num_codes or len(values) < 2:
            accuracy[factor] = (wanted[test] == values[counts.argmax()]).mean()
            continue
        learner = _learner(coded).fit(coded.codes[train], wanted[train])
        importance[:, factor] = learner.feature_importances_
        accuracy[factor] = learner.score(coded.codes[test], wanted[test])
    return importance, accuracy


def disentanglement(importance: NDArray[np.float64]) -> float:
    """One less the entropy of each row of R, weighed by its share: of R D, of its transpose C."""
    total, width = importance.sum(), importance.shape[1]
    if total <= 0:
        return 0.0
    rows = importance.sum(1)
    if width == 1:
        return 1.0
    shares = importance / np.where(rows > 0, rows, 1.0)[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1) / np.log(width)
    return float((rows / total * (1 - entropy)).sum())


class _Learner(Protocol):
    """A learner of scikit-learn that tells how much it made of every column."""

    feature_importances_: NDArray[np.float64]

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> Self: ...

    def score(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> float: ...


def _learner(coded: Coded) -> _Learner:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    if coded.learner == "gradient-boosting":
        return GradientBoostingClassifier(random_state=coded.seed % 2**32)
    # A tree that is grown until its leaves are pure splits what is left, noise, by whatever code there is.
    leaf = max(1, len(coded.halves[0]) // 250)
    return RandomForestClassifier(
        n_estimators=20, max_features=None, min_samples_leaf=leaf, random_state=coded.seed % 2**32
    )
