"""Explicitness: is a factor read from the codes by a linear classifier?

Ridgeway & Mozer 2018, https://arxiv.org/abs/1802.05312.

For every level of every factor, the area under the ROC curve of a one-versus-rest logistic regression on all codes,
on held-out data; the mean over levels and factors. By chance it is 0.5.
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.standardised import standardised


def explicitness(coded: Coded) -> dict[str, float]:
    """The mean area under the curve, between 0.5 (chance) and 1; 0.5 without an active code."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.multiclass import OneVsRestClassifier

    train, test = coded.halves
    codes = standardised(coded.codes, train)
    areas: list[float] = []
    for levels in coded.factors.levels.T:
        shared = np.intersect1d(levels[train], levels[test])
        if not coded.num_codes or len(shared) < 2:
            continue
        classifier = OneVsRestClassifier(LogisticRegression(max_iter=200)).fit(codes[train], levels[train])
        scores = classifier.decision_function(codes[test])
        if scores.ndim == 1:
            scores = np.stack([-scores, scores], 1)
        columns = {level: column for column, level in enumerate(classifier.classes_)}
        areas.extend(
            roc_auc_score(levels[test] == level, scores[:, columns[level]])
            for level in shared
            if not (levels[test] == level).all()
        )
    return {"explicitness": float(np.mean(areas)) if areas else 0.5}
