"""The hint in an error that large data may have made the loss not finite."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.containers import Labels, Rows, SparseRows

# Standardised data and grey values stay below the one, small counts below the other.
LARGE, MANY = 100.0, 10.0
# Data on disk of which so many are looked at.
STORED = 10_000
MOST_TOLD = 5
REMEDY = "likelihood=pv.models.Columns.from_frame(frame), which does so for each column by its kind"


def scale_note(x: Tensor | Rows | None, labels: Labels | None = None) -> str:
    """Half a sentence that begins with a semicolon where the data are large; nothing where they are not.

    Args:
        x: the training data, [N, *event_shape]; NaN stands for what is missing; None is not looked at.
        labels: the names of its columns, of which the large ones are told.

    >>> import torch
    >>> scale_note(torch.tensor([[0.0, 3.0], [28_000.0, 1.0]]))
    '; the data are counts to 28,000 of mean 7e+03: let the encoder see log(1 + x), or lower lr'
    >>> scale_note(torch.tensor([[0.5, -1.0]]))
    ''
    """
    x = x.values if isinstance(x, SparseRows) else x[:STORED] if isinstance(x, Rows) else x
    values = None if x is None else x[x.isfinite()]
    if x is None or values is None or not len(values):
        return ""
    most, mean = float(values.abs().max()), float(values.double().mean())
    where = _columns(x, labels)
    # Of named columns each has a scale of its own.
    remedy = f", or take {REMEDY}" if where else ""
    if most > MANY and bool((values >= 0).all()) and bool((values == values.round()).all()):
        return (
            f"; the data are counts to {most:,.0f} of mean {mean:.3g}{where}: let the encoder see log(1 + x)"
            f"{remedy}, or lower lr"
        )
    if most > LARGE:
        return f"; the data are as large as {most:.3g}{where}: standardise them{remedy}, or lower lr"
    return ""


def _columns(x: Tensor, labels: Labels | None) -> str:
    """The columns of a table that are large, in words, the largest first."""
    names = labels.axes[0] if labels is not None and labels.columns and labels.axes else None
    if names is None or x.dim() != 2 or x.shape[1] != len(names):
        return ""
    most = x.nan_to_num(0.0, 0.0, 0.0).abs().amax(0)
    large = [int(i) for i in most.argsort(descending=True) if most[i] > LARGE]
    told = ", ".join(f"{str(names[i])!r} to {float(most[i]):.3g}" for i in large[:MOST_TOLD])
    rest = f" and {len(large) - MOST_TOLD} more" if len(large) > MOST_TOLD else ""
    return f" in {len(large)} of {len(names)} columns ({told}{rest})"
