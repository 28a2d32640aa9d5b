import numpy as np
import pytest
import xarray as xr

from ppl_vae import plots
from ppl_vae.errors import DataError


def made_curve():
    """A curve of ``evidence_curve``."""
    columns = {
        "importance": [-4.0, -3.2, -3.05],
        "importance_stderr": [0.1, 0.05, 0.02],
        "jackknife": [np.nan, -2.95, -3.0],
        "jackknife_stderr": [np.nan, 0.08, 0.02],
    }
    variables = {name: ("num_samples", values) for name, values in columns.items()}
    return xr.Dataset(variables, {"num_samples": [1, 10, 100]})


def test_both_curves_with_two_standard_errors_and_the_reference():
    (axes,) = plots.plot_evidence_curve(made_curve(), reference=-3.01).axes
    bound, jackknife = axes.containers
    assert np.array_equal(bound.lines[0].get_xydata(), [[1, -4.0], [10, -3.2], [100, -3.05]])
    assert np.array_equal(jackknife.lines[0].get_xydata(), [[10, -2.95], [100, -3.0]])
    (bars,) = bound.lines[2]
    assert np.allclose([s[:, 1] for s in bars.get_segments()], [[-4.2, -3.8], [-3.3, -3.1], [-3.09, -3.01]])
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [-3.01]


def test_another_table_is_refused():
    with pytest.raises(DataError, match="missing jackknife"):
        plots.plot_evidence_curve(made_curve().drop_vars("jackknife"))
