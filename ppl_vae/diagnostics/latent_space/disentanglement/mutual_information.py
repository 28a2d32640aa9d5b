r"""Mutual information between binned codes and factors, by the plug-in estimate of a table of counts.

    I(b; v) = sum_bv p(b, v) log( p(b, v) / (p(b) p(v)) )

Of independent b and v its expectation is not 0 but about (bins - 1)(levels - 1) / (2 n) nats (Miller 1955), which
is why every score that is made of it has its chance level beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import ModelError, unknown_name

BINNINGS = ("width", "count")


def binned(codes: NDArray[np.float64], bins: int, binning: str = "width") -> NDArray[np.int64]:
    """Number the bins of codes [n, L], every dimension for itself: [n, L].

    Args:
        codes: the codes.
        bins: the number of bins.
        binning: "width" cuts the range of a dimension into bins of equal width, as disentanglement_lib does;
            "count" puts equally many data into each.

    Raises:
        ModelError: another binning.
    """
    if binning not in BINNINGS:
        raise ModelError(unknown_name("binning", binning, BINNINGS))
    numbered = np.empty(codes.shape, dtype=np.int64)
    for dimension, column in enumerate(codes.T):
        if binning == "width":
            edges = np.linspace(column.min(), column.max(), bins + 1)[1:-1]
        else:
            edges = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1])
        numbered[:, dimension] = np.searchsorted(edges, column, side="right")
    return numbered


def mutual_information(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """I(left; right) of every pair of columns, from numbers [n, L] and [n, F]: [L, F], nats."""
    information = np.zeros((left.shape[1], right.shape[1]))
    for j, v in enumerate(right.T):
        width = v.max() + 1
        for i, b in enumerate(left.T):
            counts = np.bincount(b * width + v, minlength=(b.max() + 1) * width).reshape(-1, width)
            information[i, j] = entropy(counts.sum(0)) + entropy(counts.sum(1)) - entropy(counts.ravel())
    return np.maximum(information, 0.0)


def entropies(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The entropy of every column of levels [n, F]: [F], nats."""
    return np.array([entropy(np.bincount(column)) for column in levels.T])


def entropy(counts: NDArray[np.int64]) -> float:
    """The entropy of counts, nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
