r"""Unsupervised disentanglement ranking of runs by their agreement (Duan et al. 2020, https://arxiv.org/abs/1905.12614).

    R(a, b)   |weight of code a of run i| in a lasso that predicts code b of run j, both standardised
    UDR_ij = 1/(L_i + L_j) [ sum_b r_b^2 / sum_a R(a, b) + sum_a r_a^2 / sum_b R(a, b) ]
    UDR_i = median over j of UDR_ij

over informative codes alone, with r the largest entry of a column or a row. It needs no factors, and two runs at
least. Codes that agree up to order and sign give 1 less the lasso's shrinkage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.standardised import standardised

#: The penalty of the lasso, as in disentanglement_lib.
PENALTY = 0.1


def udr(runs: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """UDR of every run [R], from the active codes [n, L_i] of each, all of the same data."""
    scaled = [standardised(codes) for codes in runs]
    agreement = np.full((len(runs), len(runs)), np.nan)
    for i, left in enumerate(scaled):
        for j, right in enumerate(scaled):
            if i != j:
                agreement[i, j] = _agreement(_weights(left, right))
    return np.nanmedian(agreement, axis=1)


def _weights(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """|weights| of the lasso that predicts the right codes from the left ones: [L_i, L_j]."""
    from sklearn.linear_model import Lasso

    if not left.shape[1] or not right.shape[1]:
        return np.zeros((left.shape[1], right.shape[1]))
    return np.abs(np.atleast_2d(Lasso(alpha=PENALTY).fit(left, right).coef_)).T


def _agreement(weights: NDArray[np.float64]) -> float:
    if not weights.size:
        return 0.0
    parts = [weights.max(axis) ** 2 / np.where((total := weights.sum(axis)) > 0, total, 1.0) for axis in (0, 1)]
    return float(np.concatenate(parts).mean())
