r"""Convergence of many short chains: nested R-hat, and ArviZ's R-hat and effective sample sizes.

Chains are grouped into superchains that start at one point each. Nested R-hat (Margossian et al. 2024,
https://doi.org/10.1214/24-BA1453) is sqrt(1 + B / W): B the variance of the superchains' means, W the mean over
superchains of the variance between their chains and within these. It reaches 1 with short chains too, where there
are many in a superchain.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.arviz.container import ess, rhat


def nested_rhat(draws: Tensor, num_superchains: int) -> Tensor:
    """Compute nested R-hat, the largest over coordinates: [n].

    Args:
        draws: [C, S, n, D], the chains of a superchain side by side.
        num_superchains: K, a divisor of C.
    """
    grouped = draws.double().reshape(num_superchains, -1, *draws.shape[1:])
    chain_means = grouped.mean(2)
    within = grouped.var(2).mean(1) + (chain_means.var(1) if grouped.shape[1] > 1 else 0.0)
    between = chain_means.mean(1).var(0)
    ratio = between / within.mean(0)
    return (1 + ratio).sqrt().nan_to_num(torch.inf).amax(-1)


def split_statistics(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute ArviZ's R-hat, the largest, and effective sample size, the least of bulk and tail.

    Args:
        draws: [C, S, *data, D].

    Returns:
        Both over the last dimension [*data].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = np.nan_to_num(rhat(draws), nan=np.inf).max(-1)
        bulk, tail = (np.nan_to_num(ess(draws, method)).min(-1) for method in ("bulk", "tail"))
    return worst, np.minimum(bulk, tail)
