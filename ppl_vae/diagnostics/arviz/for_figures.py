"""Draws in the forms that figures of ArviZ take, where these are not the draws themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.diagnostics.arviz.container import ArvizData, Generation, installed
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.pareto import threshold

CELL = "cell"
SAMPLE = ("chain", "draw")
PREDICTIVE = ("posterior_predictive", "observed_data")


def for_plot_khat(data: ArvizData, *, generation: Generation | None = None) -> object:
    """Convert the k-hat of ``inference_data`` to the form that ArviZ's plot_khat takes.

    It holds k-hat and its threshold alone: scores of leave-one-out have no meaning here.

    Args:
        data: what ``inference_data`` returned.
        generation: by default the one that is installed.
    """
    chosen = generation or installed()
    table = chosen.groups(data)["sample_stats"]
    return chosen.elpd(table["khat"], threshold(table.sizes["draw"]))


def for_plot_ppc(data: ArvizData, *, generation: Generation | None = None) -> object:
    """Lay data and replicates out in one dimension, as ArviZ's plot_ppc_pit and plot_ppc_pava take them.

    These compare every number of the data with its replicates, and know no data of several dimensions, such as
    [datum, pixel_row, pixel_column] of images. What comes back has the two groups alone, with the dimension "cell"
    of all data and coordinates, datum by datum. Missing cells (NaN) are left out: ArviZ's PIT takes each for a
    number below all of its replicates.

    Args:
        data: what ``inference_data`` returned.
        generation: by default the one that is installed.

    Raises:
        ModelError: there are no replicates; the attributes of ``data`` say why.
    """
    chosen = generation or installed()
    groups = chosen.groups(data)
    if not groups.keys() >= set(PREDICTIVE):
        raise ModelError(
            f"there are no replicates: {data.attrs.get('why_no_posterior_predictive', 'none was drawn')}"
        )
    attributes = {str(name): value for name, value in data.attrs.items()}
    seen = {str(name): ~np.isnan(data.to_numpy().ravel()) for name, data in groups["observed_data"].items()}
    return chosen.build({name: _in_one_dimension(groups[name], seen) for name in PREDICTIVE}, attributes)


def _in_one_dimension(group: xr.Dataset, seen: Mapping[str, NDArray[np.bool_]]) -> xr.Dataset:
    """Every variable as [chain, draw, cell], or [cell] of data; the cells of several sites have their names."""
    alone = len(group.data_vars) == 1
    found = {}
    for name, variable in group.data_vars.items():
        own = [dim for dim in variable.dims if dim not in SAMPLE]
        cells = CELL if alone else f"{name}_{CELL}"
        kept = [dim for dim in variable.dims if dim in SAMPLE]
        shape = [variable.sizes[dim] for dim in kept]
        values = variable.transpose(*kept, *own).to_numpy().reshape(*shape, -1)
        found[name] = ((*kept, cells), values[..., seen[str(name)]])
    table = xr.Dataset(found)
    return table.assign_coords({dim: range(size) for dim, size in table.sizes.items()})
