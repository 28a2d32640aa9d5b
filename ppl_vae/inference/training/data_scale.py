"""The hint in an error that large data may have made the loss not finite."""

from __future__ import annotations

from torch import Tensor

# Standardised data and grey values stay below the one, small counts below the other.
LARGE, MANY = 100.0, 10.0


def scale_note(x: Tensor | None) -> str:
    """Half a sentence that begins with a semicolon where the data are large; nothing where they are not.

    Args:
        x: the training data, [N, *event_shape]; NaN stands for what is missing; None is not looked at.

    >>> import torch
    >>> scale_note(torch.tensor([[0.0, 3.0], [28_000.0, 1.0]]))
    '; the data are counts to 28,000 of mean 7e+03: let the encoder see log(1 + x), or lower lr'
    >>> scale_note(torch.tensor([[0.5, -1.0]]))
    ''
    """
    values = None if x is None else x[x.isfinite()]
    if values is None or not len(values):
        return ""
    most, mean = float(values.abs().max()), float(values.double().mean())
    if most > MANY and bool((values >= 0).all()) and bool((values == values.round()).all()):
        return (
            f"; the data are counts to {most:,.0f} of mean {mean:.3g}: let the encoder see log(1 + x), or lower lr"
        )
    if most > LARGE:
        return f"; the data are as large as {most:.3g}: standardise them, or lower lr"
    return ""
