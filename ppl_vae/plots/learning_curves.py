"""Learning curves: the unweighted ELBO and its two terms by epoch, and beside them the loss that was minimised.

ELBO = E_q[log p(x | z)] − KL(q(z | x) || p(z)), in nats per datum. The loss is the objective, which under a
weighted, annealed or many-sample bound is not minus the ELBO; it has a panel of its own for that reason.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, say_left_out, style_axes

PANELS = {
    "elbo": "ELBO (higher is better)",
    "log_likelihood": r"log likelihood, $\mathrm{E}_q[\log p(x \mid z)]$",
    "kl": r"KL$(q(z \mid x) \,\|\, p(z))$",
}
SPLITS = {"train": (style.BLUE, "-"), "validation": (style.VERMILION, "--"), "test": (style.GREEN, "-.")}
FEW_EPOCHS = 12
REQUIRED = ("epoch", "loss", *(f"train_{term}" for term in PANELS))


def plot_learning_curves(
    history: pd.DataFrame, best_epoch: int | None = None, title: str | None = None, *, figsize: Size | None = None
) -> Figure:
    """Draw four panels over the epochs: the ELBO, its log likelihood and KL, and the objective.

    Args:
        history: a row per epoch, with columns epoch, loss, train_elbo, train_log_likelihood and train_kl,
            and where they were evaluated the same three with the prefixes validation_ and test_.
        best_epoch: the epoch whose weights were kept, marked by an upright line in each panel.
        title: above the panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.
    """
    _check(history, best_epoch)
    figure = new_sheet(6.5, 4.4 + 0.25 * (title is not None), title, figsize)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (term, name) in zip(panels.flat, PANELS.items(), strict=False):
        for split, (colour, dashes) in SPLITS.items():
            if f"{split}_{term}" in history:
                _draw_curve(
                    axes, history, f"{split}_{term}", colour, dashes, _label(history, f"{split}_{term}", split)
                )
        axes.set_title(name, fontsize=style.LABEL_SIZE, color=style.INK, loc="left")
    _draw_curve(panels[1, 1], history, "loss", style.INK, "-", "loss")
    broken = int((~np.isfinite(history["loss"])).sum())
    say_left_out(panels[1, 1], f"{broken} of {len(history)} not finite" * (broken > 0))
    panels[1, 1].set_title("objective (minimised)", fontsize=style.LABEL_SIZE, color=style.INK, loc="left")
    for axes in panels.flat:
        _finish(axes, best_epoch)
    panels[0, 0].set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    for axes in panels[:, 0]:
        axes.set_ylabel("nats per datum", fontsize=style.LABEL_SIZE, color=style.INK)
    for axes in panels[1]:
        axes.set_xlabel("epoch", fontsize=style.LABEL_SIZE, color=style.INK)
    figure.align_ylabels()
    _legend(figure, panels[0, 0].get_lines())
    return figure


def _check(history: pd.DataFrame, best_epoch: int | None) -> None:
    missing = [column for column in REQUIRED if column not in history]
    if missing or history.empty:
        found = f"{len(history)} rows with columns {', '.join(map(str, history.columns))}"
        raise DataError(f"history: expected a row per epoch with columns {', '.join(REQUIRED)}; found {found}")
    if best_epoch is not None and best_epoch not in history["epoch"].to_numpy():
        raise DataError(f"best_epoch: expected an epoch of the history, found {best_epoch}")


def _label(history: pd.DataFrame, column: str, split: str) -> str:
    """Name a split, with the number of its epochs where some have no finite value."""
    known = int(np.isfinite(history[column]).sum())
    return split if known == len(history) else f"{split} ({known} of {len(history)} epochs)"


def _draw_curve(axes: Axes, history: pd.DataFrame, column: str, colour: str, dashes: str, label: str) -> None:
    """Draw one curve; epochs without a finite value, as where an evaluation was skipped, are bridged."""
    curve = history.loc[np.isfinite(history[column]), ["epoch", column]]
    marker = "o" if len(curve) <= FEW_EPOCHS else ""
    axes.plot(
        curve["epoch"],
        curve[column],
        color=colour,
        linestyle=dashes,
        linewidth=1.4,
        marker=marker,
        markersize=3,
        label=label,
    )


def _finish(axes: Axes, best_epoch: int | None) -> None:
    style_axes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if best_epoch is not None:
        axes.axvline(
            best_epoch,
            color=style.REFERENCE,
            linewidth=1.0,
            linestyle=":",
            label=f"best epoch ({best_epoch})",
            zorder=1,
        )


def _legend(figure: Figure, lines: list[Line2D]) -> None:
    """Draw one legend for all panels, below them."""
    figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=len(lines),
        frameon=False,
        fontsize=style.TICK_SIZE,
        labelcolor=style.INK,
    )
