"""A sweep in a figure: the score of every point against each option that was varied."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes

MOST_PANELS, WIDTH, HEIGHT = 8, 3.0, 2.8
# Values that reach over more than this ratio are drawn on a logarithmic axis.
WIDE = 50.0
LABELS = {"elbo": "ELBO, nats per datum", "log_evidence": "log p(x) of the bound, nats per datum"}


def plot_sweep(numbers: xr.Dataset, title: str | None = None, *, figsize: Size | None = None) -> Figure:
    """Draw one panel per option: every point's score, with the error of its distance to the best one.

    The best point is filled; a point whose bar reaches the dashed line is within one standard error of it.
    Points that were pruned or failed have no score and are counted below the panels.

    Args:
        numbers: of ``sweep``.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the numbers are none of a sweep, or no point has a score.
    """
    by, options = _read(numbers)
    score = numbers[by].mean("seed", skipna=False).to_numpy()
    scored = np.isfinite(score)
    if not scored.any():
        raise DataError(f"numbers: none of {len(score)} points has a score: all were pruned or failed")
    figure = new_sheet(WIDTH * len(options) + 0.6, HEIGHT, title, figsize)
    panels = figure.subplots(1, len(options), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, options, strict=True):
        _draw(axes, numbers[name].to_numpy(), numbers, score, scored)
        axes.set_xlabel(name, fontsize=style.LABEL_SIZE, color=style.INK)
    panels[0].set_ylabel(LABELS[by], fontsize=style.LABEL_SIZE, color=style.INK)
    if not scored.all():
        words = f"{int((~scored).sum())} of {len(scored)} points were pruned or failed"
        figure.supxlabel(words, fontsize=style.LABEL_SIZE, color=style.REFERENCE)
    return figure


def _read(numbers: xr.Dataset) -> tuple[str, list[str]]:
    by, options = str(numbers.attrs.get("judge")), numbers.attrs.get("options", [])
    options = [str(name) for name in ([options] if isinstance(options, str) else options)]
    if by not in LABELS or by not in numbers or "behind_stderr" not in numbers or not options:
        raise DataError(
            f"numbers: expected those of a sweep, found {', '.join(map(str, numbers.data_vars)) or 'nothing'}"
        )
    varied = [name for name in options if len(np.unique(numbers[name].to_numpy())) > 1] or options[:1]
    return by, varied[:MOST_PANELS]


def _draw(
    axes: Axes,
    values: np.ndarray,
    numbers: xr.Dataset,
    score: np.ndarray,
    scored: np.ndarray,
) -> None:
    style_axes(axes)
    numeric = np.issubdtype(values.dtype, np.number)
    names = [] if numeric else sorted(set(values.tolist()))
    at = values.astype(float) if numeric else np.array([names.index(value) for value in values], dtype=float)
    error = np.nan_to_num(numbers["behind_stderr"].to_numpy())
    best = numbers["point"].to_numpy() == numbers.attrs["best"]
    axes.errorbar(
        at[scored], score[scored], yerr=error[scored], fmt="none", ecolor=style.BLUE, elinewidth=0.8, alpha=0.7
    )
    for shown, face in ((scored & ~best, "white"), (scored & best, style.VERMILION)):
        edge = style.VERMILION if face != "white" else style.BLUE
        axes.scatter(at[shown], score[shown], s=24, facecolor=face, edgecolor=edge, linewidth=1.1, zorder=3)
    axes.axhline(
        score[best & scored].max(), color=style.REFERENCE, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0.5
    )
    if numeric and at.min() > 0 and at.max() > WIDE * at.min():
        axes.set_xscale("log")
    if names:
        axes.set_xticks(range(len(names)), names)
