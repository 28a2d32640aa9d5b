"""The guide's means against the truth, and z-scores against contraction."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from ppl_vae.errors import DataError
from ppl_vae.plots import style
from ppl_vae.plots.figure import Size, new_sheet, style_axes
from ppl_vae.renamed import renamed

REQUIRED = ("truth", "mean", "z_score", "contraction", "recovery", "rms_z")


@renamed(table="numbers")
def plot_recovery(
    numbers: xr.Dataset, max_latents: int = 6, title: str | None = None, *, figsize: Size | None = None
) -> Figure:
    """Draw one column for each latent: its mean against the truth above, z-score against contraction below.

    Args:
        numbers: of ``diagnostics.run_recovery``.
        max_latents: where there are more, the first are drawn, and the figure says so.
        title: above all panels.
        figsize: width and height in inches; this is a whole figure of several axes, so that it takes no ``ax``.

    Raises:
        DataError: the table is another; what it lacks is named.
    """
    missing = [name for name in REQUIRED if name not in numbers]
    if missing:
        raise DataError(f"table: expected what run_recovery returns; missing {', '.join(missing)}")
    count = min(max_latents, numbers.sizes["quantity"])
    sheet = new_sheet(2.3 * count + 0.4, 4.6 + 0.25 * (title is not None), title, figsize)
    panels = sheet.subplots(2, count, squeeze=False)
    for index in range(count):
        of = numbers.isel(quantity=index)
        above, below = panels[0][index], panels[1][index]
        low, high = float(of["truth"].min()), float(of["truth"].max())
        above.plot([low, high], [low, high], color=style.REFERENCE, linewidth=0.8)
        above.scatter(of["truth"], of["mean"], s=4, color=style.BLUE, alpha=0.4, linewidths=0)
        above.set_title(
            f"{of['quantity'].item()}: r = {float(of['recovery']):.2f}", fontsize=style.LABEL_SIZE, color=style.INK
        )
        below.axhline(0, color=style.REFERENCE, linewidth=0.8)
        below.scatter(of["contraction"], of["z_score"], s=4, color=style.BLUE, alpha=0.4, linewidths=0)
        below.set_title(f"rms z = {float(of['rms_z']):.2f}", fontsize=style.LABEL_SIZE, color=style.INK)
        above.set_xlabel("truth", fontsize=style.LABEL_SIZE, color=style.INK)
        below.set_xlabel("contraction", fontsize=style.LABEL_SIZE, color=style.INK)
        style_axes(above)
        style_axes(below)
    panels[0][0].set_ylabel("mean of the guide", fontsize=style.LABEL_SIZE, color=style.INK)
    panels[1][0].set_ylabel("z-score", fontsize=style.LABEL_SIZE, color=style.INK)
    left_out = numbers.sizes["quantity"] - count
    if left_out:
        sheet.supxlabel(f"{left_out} more latents are not drawn", fontsize=style.TICK_SIZE, color=style.REFERENCE)
    return sheet
