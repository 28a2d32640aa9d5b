"""``psislw`` of ArviZ 0.23, one row at a time: the outside reference for ``inference.evidence.pareto``."""

import warnings
from importlib import metadata

import numpy as np
import pytest


def khat_of_arviz_1(log_weight):
    """k-hat [N] of log weights [S, N] by arviz_stats, which takes log likelihoods and changes their sign."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = pytest.importorskip("arviz_stats.base").array_stats
    return np.array([float(arrays.psislw(-np.asarray(column))[1]) for column in np.asarray(log_weight).T])


def psislw(log_weight):
    """Smoothed log weights [S, N] and k-hat [N] of log weights [S, N]."""
    if not metadata.version("arviz").startswith("0."):
        pytest.skip("ArviZ 1.x smooths by another rule for the tail and its shape")
    with warnings.catch_warnings():
        # It says at import that a new generation is coming, and its plots use what matplotlib has set aside.
        warnings.simplefilter("ignore")
        import matplotlib.style.core  # noqa: F401
        from arviz.stats.stats import psislw as one_row

        rows = [one_row(np.array(row)) for row in np.asarray(log_weight).T]
    smoothed, khat = zip(*rows, strict=True)
    return np.stack(smoothed, 1), np.array([float(k) for k in khat])
