"""FactorVAE's score (Kim & Mnih 2018, section 4, https://arxiv.org/abs/1802.05983).

In a batch of data that share one factor's level, the code that varies least, in units of its variance over all
data, votes for that factor; a majority vote per code is the classifier, and its held-out accuracy the score. Codes
that do not vary are left out before (disentanglement_lib: a standard deviation below 0.05).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppl_vae.diagnostics.latent_space.disentanglement.batches import sharing_batches
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded

BATCH = 64


def factor_vae_score(coded: Coded) -> dict[str, float]:
    """The accuracy; 0 without an active code, as the paper's own code has it."""
    if not coded.num_codes:
        return {"factor-vae score": 0.0}
    codes, votes = _votes(coded)
    train = 2 * len(codes) // 3
    counts = np.zeros((coded.num_codes, coded.factors.num_factors))
    np.add.at(counts, (codes[:train], votes[:train]), 1)
    return {"factor-vae score": float((counts.argmax(1)[codes[train:]] == votes[train:]).mean())}


def _votes(coded: Coded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The code that varies least in each batch, and the factor that was shared."""
    scaled = coded.codes / coded.codes.std(0, ddof=1)
    least, factors = [], []
    for shared, rows in sharing_batches(coded.factors, coded.votes, BATCH, np.random.default_rng(coded.seed)):
        least.append(scaled[rows].var(1, ddof=1).argmin(1))
        factors.append(shared)
    return np.concatenate(least), np.concatenate(factors)
