"""Data above their reconstructions, the mean of p(x | z) at a code of q(z | x)."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots.arrays import Array, to_numpy
from ppl_vae.plots.figure import Size, new_sheet
from ppl_vae.plots.image_grid import as_images, draw_grid, grid_size, wrap

MOST_COLUMNS = 12
ROW_LABELS = ("input", "reconstruction")


def plot_reconstructions(
    x: Array, reconstruction: Array, title: str | None = None, *, figsize: Size | None = None
) -> Figure:
    """Draw each datum above its reconstruction, in as many bands of two rows as are needed.

    Args:
        x: data, [N, *event].
        reconstruction: their reconstructions, [N, *event].
        title: above all bands.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the two differ in shape, or are no images.
    """
    expected, found = to_numpy(x).shape, to_numpy(reconstruction).shape
    if expected != found:
        raise DataError(f"reconstruction: expected the shape of the data, {expected}, found {found}")
    pairs = [as_images(x), as_images(reconstruction)]
    num_bands = math.ceil(len(pairs[0]) / MOST_COLUMNS)
    cols = math.ceil(len(pairs[0]) / num_bands)
    bands = np.stack([wrap(images, cols) for images in pairs], axis=1)
    width, height = grid_size(2 * num_bands, cols, bands.shape[3:5])
    height += 0.1 * num_bands + 0.3 * (title is not None)
    figure = new_sheet(width + 1.05, height, title, figsize)
    for axes, band in zip(figure.subplots(num_bands, squeeze=False)[:, 0], bands, strict=True):
        draw_grid(axes, band, ROW_LABELS)
    return figure
