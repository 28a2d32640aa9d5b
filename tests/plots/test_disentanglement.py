"""The figure of scores holds what the table says: points, whiskers of two errors, levels by chance."""

import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_disentanglement


def made_scores(runs=2):
    dims = ("representation", "run", "metric")
    shape = (2, runs, 3)
    figures = {"stderr": 0.02, "chance": 0.1, "chance_spread": 0.01}
    table = xr.Dataset(
        {name: (dims, np.full(shape, value)) for name, value in figures.items()},
        {"representation": ["mean", "sample"], "metric": ["mig", "sap", "gaussian total correlation"]},
    )
    table["mean"] = dims[::2], np.array([[0.5, 0.4, 3.0], [0.3, 0.2, 2.0]])
    table["stderr_over_runs"] = dims[::2], np.full((2, 3), 0.05)
    return table


def test_points_and_whiskers_are_the_scores_and_two_errors():
    (axes,) = plot_disentanglement(made_scores()).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mig", "sap"]
    points = [container.lines[0].get_xdata() for container in axes.containers]
    np.testing.assert_allclose(points, [[0.5, 0.4], [0.3, 0.2]])
    whiskers = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(whiskers[0][:, 0], [0.4, 0.6])


def test_one_run_has_its_error_over_samples():
    (axes,) = plot_disentanglement(made_scores(runs=1)).axes
    np.testing.assert_allclose(axes.containers[0].lines[2][0].get_segments()[0][:, 0], [0.46, 0.54])


def test_another_table_is_refused_by_what_it_lacks():
    with pytest.raises(DataError, match=r"found no chance$"):
        plot_disentanglement(made_scores().drop_vars("chance"))
