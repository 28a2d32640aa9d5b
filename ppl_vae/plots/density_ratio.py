"""Draws of the aggregate posterior and of the prior in two dimensions, coloured by their log density ratio."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, draw_legend, open_panel, style_axes, style_ticks
from ppl_vae.plots.labels import latent_name

# Log ratios beyond these have the colours of them: e^3 is 20.
MOST = 3.0
MARKERS = {"prior": ("x", 14), "aggregate posterior": ("o", 9)}


def plot_density_ratio(
    numbers: xr.Dataset,
    dims: tuple[int, int] = (0, 1),
    title: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Figure:
    """Draw one point per draw, round ones of the aggregate posterior and crosses of the prior.

    Where crosses are dark there are holes: the prior draws codes that no datum has. Of a single latent dimension
    the log ratio is the second axis.

    Args:
        numbers: of ``run_density_ratio``.
        dims: which two latent dimensions to draw, counted from 0.
        title: above the panel.
        ax: axes of yours to draw on; by default those of a new figure.
        figsize: width and height of the new figure in inches.

    Raises:
        DataError: the table is another; what it lacks is named.
        ModelError: a dimension that the codes have not.
    """
    missing = [name for name in ("z", "log_ratio") if name not in numbers]
    if missing:
        raise DataError(f"numbers: expected what run_density_ratio returns, found no {', '.join(missing)}")
    width = numbers.sizes["latent"]
    if width > 1 and (len(dims) != 2 or not all(0 <= dim < width for dim in dims)):
        raise ModelError(f"dims: expected two of 0 to {width - 1}, found {dims}")
    figure, axes = open_panel(4.6, 3.75, title, ax, figsize)
    style_axes(axes)
    norm = Normalize(-MOST, MOST)
    colours = ScalarMappable(norm, "viridis")
    for source, (marker, size) in MARKERS.items():
        part = numbers.sel(source=source)
        z, ratio = part["z"].to_numpy(), part["log_ratio"].to_numpy()
        across, up = (z[:, dims[0]], z[:, dims[1]]) if width > 1 else (z[:, 0], ratio)
        axes.scatter(
            across, up, c=np.clip(ratio, -MOST, MOST), norm=norm, cmap=colours.cmap, marker=marker, s=size,
            linewidths=0.7 if marker == "x" else 0, alpha=0.8, label=source,
        )  # fmt: skip
    bar = figure.colorbar(colours, ax=axes, shrink=0.8, aspect=30, extend="both")
    bar.set_label("log q(z) / p(z), nats", fontsize=style.LABEL_SIZE, color=style.INK)
    style_ticks(bar.ax)
    names = (latent_name(dims[0]), latent_name(dims[1])) if width > 1 else (latent_name(0), "log q(z) / p(z), nats")
    axes.set_xlabel(names[0], fontsize=style.LABEL_SIZE, color=style.INK)
    axes.set_ylabel(names[1], fontsize=style.LABEL_SIZE, color=style.INK)
    draw_legend(figure, axes, ax is not None, ncols=2)
    return figure
