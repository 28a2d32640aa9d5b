"""Codes of a space that is not flat, with geodesics: maps of the sphere, the torus and the Poincare disc."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ppl_vae.plots import style
from ppl_vae.plots.arrays import Array, check_length, to_numpy
from ppl_vae.plots.figure import Size, open_panel, style_axes
from ppl_vae.plots.latent_scatter import colour

SIZE = 4.1


def plot_latent_map(
    numbers: xr.Dataset,
    labels: Array | Sequence[object] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one point per datum inside the edge of its space, and a line for each path.

    Args:
        numbers: from ``models.latent_map``.
        labels: classes for a colour each, or a real-valued factor for a colour scale, [N].
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.
    """
    left_right, bottom_top = numbers.attrs["left_right"], numbers.attrs["bottom_top"]
    figure, axes = open_panel(SIZE if labels is None else SIZE + 0.5, SIZE, title, ax, figsize)
    style_axes(axes)
    points = numbers.points.values
    scatter = axes.scatter(points[:, 0], points[:, 1], s=9, color=style.BLUE, alpha=0.7, linewidths=0, zorder=2)
    if "paths" in numbers:
        lines = numbers.paths.values
        axes.plot(lines[..., 0], lines[..., 1], color=style.INK, linewidth=1.0, zorder=3)
    if numbers.attrs["round"]:
        axes.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor=style.REFERENCE, linewidth=0.8))
        axes.set_aspect("equal")
        left_right, bottom_top = (-1.02, 1.02), (-1.02, 1.02)
    axes.set_xlim(*left_right)
    axes.set_ylim(*bottom_top)
    across, upwards = numbers.coordinate.values
    axes.set_xlabel(across, fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel(upwards, fontsize=style.LABEL_SIZE, color=style.INK)
    if labels is not None:
        known = to_numpy(labels)
        check_length("labels", known, len(points), "code")
        colour(axes, scatter, known)
    return figure
