"""The labels of numbers and latent coordinates on a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def number_labels(values: Sequence[float] | np.ndarray) -> list[str]:
    """Write numbers as short labels, with a real minus sign.

    >>> number_labels([-1.5, 0.0, 2.0])
    ['−1.5', '0', '2']
    """
    return [f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in values]


def latent_name(index: int) -> str:
    """Name a latent coordinate, counted from 1 as in papers.

    >>> latent_name(0)
    '$z_{1}$'
    """
    return f"$z_{{{index + 1}}}$"
