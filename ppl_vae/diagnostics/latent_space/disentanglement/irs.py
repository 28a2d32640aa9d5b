r"""The interventional robustness score (Suter, Miladinovic, Schoelkopf & Bauer 2019).

    PIDA_ij = mean over levels v of factor j of the 99th percentile of |z_i - E[z_i | v]| over the data of a level
    IRS = sum_i w_i max_j (1 - PIDA_ij / M_i),     M_i = max |z_i - E z_i|,    w_i = M_i / sum M

as disentanglement_lib computes it from observed data (their algorithm 1, https://arxiv.org/abs/1811.00007). Its
level by chance is far above 0, since a maximum is held against a percentile.
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded

PERCENTILE = 99.0


def irs(coded: Coded) -> dict[str, float]:
    """The score, between 0 and 1; 0 without an active code."""
    if not coded.num_codes:
        return {"irs": 0.0}
    largest = np.abs(coded.codes - coded.codes.mean(0)).max(0)
    deviation = np.zeros((coded.num_codes, coded.factors.num_factors))
    for factor, levels in enumerate(coded.factors.levels.T):
        groups = [coded.codes[levels == level] for level in np.unique(levels)]
        deviation[:, factor] = np.mean(
            [np.percentile(np.abs(group - group.mean(0)), PERCENTILE, axis=0) for group in groups], axis=0
        )
    robustness = (1 - deviation / largest[:, None]).max(1)
    return {"irs": float(np.average(robustness, weights=largest))}
