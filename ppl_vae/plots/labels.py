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


def coordinate_names(site: str, shape: Sequence[int]) -> list[str]:
    """Name the coordinates of a site, by its own name alone where it is one number.

    >>> coordinate_names("mu", ()), coordinate_names("shift", (2,))
    (['mu'], ['shift[0]', 'shift[1]'])
    """
    return [f"{site}[{','.join(map(str, index))}]" if index else site for index in np.ndindex(*shape)]


def latent_name(index: int) -> str:
    """Name a latent coordinate, counted from 1 as in papers.

    >>> latent_name(0)
    '$z_{1}$'
    """
    return f"$z_{{{index + 1}}}$"
