r"""The separated attribute predictability (Kumar, Sattigeri & Balakrishnan 2018, https://arxiv.org/abs/1711.00848).

    S_ij   how well code i alone tells factor j
    SAP = mean over factors of the difference between its two largest S_ij

Of a continuous factor S is the squared correlation; of levels the held-out accuracy of a linear support vector
machine (C = 0.01, classes balanced, as disentanglement_lib has it) on the code less its mean: the machine's penalty
takes in the intercept, so that a code far from 0 would tell less. The identity is not worth 1: the second best
code has the accuracy of chance, and one line does not set an inner level apart.
"""

from __future__ import annotations

import warnings

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded


def sap(coded: Coded) -> dict[str, float]:
    """The mean difference, between 0 and 1; 0 without an active code."""
    if not coded.num_codes:
        return {"sap": 0.0}
    scores = np.zeros((coded.num_codes, coded.factors.num_factors))
    for factor in range(coded.factors.num_factors):
        told = _squared_correlation if coded.factors.continuous[factor] else _accuracy
        scores[:, factor] = [told(coded, code, factor) for code in range(coded.num_codes)]
    best = -np.sort(-scores, axis=0)
    second = best[1] if len(best) > 1 else np.zeros_like(best[0])
    return {"sap": float((best[0] - second).mean())}


def _squared_correlation(coded: Coded, code: int, factor: int) -> float:
    z, v = coded.codes[:, code], coded.factors.values[:, factor]
    product = z.var() * v.var()
    return float(np.mean((z - z.mean()) * (v - v.mean())) ** 2 / product) if product > 0 else 0.0


def _accuracy(coded: Coded, code: int, factor: int) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    (train, test), z, levels = coded.halves, coded.codes[:, [code]], coded.factors.levels[:, factor]
    z = z - z[train].mean()
    if len(np.unique(levels[train])) < 2:
        return 0.0
    machine = LinearSVC(C=0.01, class_weight="balanced", random_state=coded.seed % 2**32)
    with warnings.catch_warnings():
        # Its line is as good as it gets long before the solver's own tolerance, for a code that tells nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(machine.fit(z[train], levels[train]).score(z[test], levels[test]))
