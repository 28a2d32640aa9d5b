r"""Modularity: does a code know of one factor alone? (Ridgeway & Mozer 2018, equation 2).

    modularity_i = 1 - sum over v other than v* of I(b_i; v)^2 / ( I(b_i; v*)^2 (F - 1) )

with v* the factor that b_i knows best. https://arxiv.org/abs/1802.05312.

The mean over active codes. One factor alone has no others: the score is then 1.
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded


def modularity(coded: Coded) -> dict[str, float]:
    """The mean over codes, between 0 and 1; 0 without an active code."""
    squares = coded.information**2
    best = squares.max(1, initial=0.0)
    others = (squares.sum(1) - best) / max(1, coded.factors.num_factors - 1)
    informed = best > 0
    scores = np.where(informed, 1 - others / np.where(informed, best, 1.0), 0.0)
    return {"modularity": float(scores.mean()) if coded.num_codes else 0.0}
