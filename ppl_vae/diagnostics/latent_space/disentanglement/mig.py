r"""The mutual information gap (Chen, Li, Grosse & Duvenaud 2018, equation 6, https://arxiv.org/abs/1802.04942).

    MIG = mean over factors v of ( I(b_1; v) - I(b_2; v) ) / H(v)

where b_1 and b_2 are the two codes that know most of v. Codes are binned (Locatello et al. 2019), while Chen et al.
take draws of q(z|x) and densities of the aggregate: numbers of the two are not comparable.
"""

from __future__ import annotations

import numpy as np

from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded


def mig(coded: Coded) -> dict[str, float]:
    """The gap, between 0 and 1; 0 without an active code."""
    if not coded.num_codes:
        return {"mig": 0.0}
    best = -np.sort(-coded.information, axis=0)
    second = best[1] if len(best) > 1 else np.zeros_like(best[0])
    # A level may be missing in a part of the data, and then a factor may not vary.
    known = coded.factor_entropies > 0
    gaps = (best[0] - second)[known] / coded.factor_entropies[known]
    return {"mig": float(gaps.mean()) if len(gaps) else 0.0}
