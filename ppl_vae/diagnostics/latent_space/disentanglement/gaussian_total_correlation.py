r"""The total correlation of a Gaussian with the codes' covariance S (Watanabe 1960; Locatello et al. 2019).

    TC = 1/2 ( sum_i log S_ii - log det S ),   nats

It is 0 where codes are uncorrelated, and infinite where one repeats another.

It is of the codes alone and knows nothing of factors; its chance level is that of codes shuffled each for itself.
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded


def gaussian_total_correlation(coded: Coded) -> dict[str, float]:
    """The total correlation of the active codes, nats; 0 for fewer than two."""
    if coded.num_codes < 2:
        return {"gaussian total correlation": 0.0}
    sign, log_det = np.linalg.slogdet(np.corrcoef(coded.codes.T))
    return {"gaussian total correlation": float(-0.5 * log_det) if sign > 0 else float("inf")}
