import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae import plots
from ppl_vae.errors import DataError
from ppl_vae.plots.style import BLUE, VERMILION
from tests.plots.pictures import drawn_tile, grid_shape, images


def made_khat(count=40):
    """A table of ``run_importance``: k-hat from -0.2 up to 1.1, one datum exact, one without a fit."""
    khat = np.linspace(-0.2, 1.1, count)
    khat[:2] = np.nan, np.inf
    exact = np.arange(count) == 0
    numbers = {"khat": khat, "exact": exact, "ess": np.full(count, 10.0), "elbo": -np.arange(count, dtype=float)}
    attributes = {"threshold": 0.6667, "num_samples": 1000}
    return xr.Dataset({name: ("datum", v) for name, v in numbers.items()}, attrs=attributes)


def test_a_point_a_datum_and_colours_by_the_threshold():
    ds = made_khat()
    points, histogram = plots.plot_khat(ds).axes
    low, high = (np.asarray(c.get_offsets()) for c in points.collections)
    khat = ds["khat"].to_numpy()
    assert np.array_equal(high, [[i, khat[i]] for i in np.flatnonzero((khat > 0.6667) & np.isfinite(khat))])
    assert len(low) + len(high) == 38
    colours = [to_hex(c.get_facecolor()[0]) for c in points.collections]
    assert colours == [BLUE, VERMILION]
    assert sum(bar.get_width() for bar in histogram.patches) == 38
    red = [bar.get_width() for bar in histogram.patches if to_hex(bar.get_facecolor()) == VERMILION]
    assert sum(red) == len(high)
    assert points.get_title("left") == f"{len(high)} of 40 data above 0.67, 1 exact, 1 without a fit"
    assert {line.get_ydata()[0] for line in points.get_lines()} == {0.5, 0.6667}


def test_only_exact_data_make_an_empty_panel_that_says_so():
    ds = made_khat()
    ds["khat"][:], ds["exact"][:] = np.nan, True
    points, _ = plots.plot_khat(ds).axes
    assert points.get_title("left") == "0 of 40 data above 0.67, 40 exact"


def test_the_worst_data_come_first_with_their_khat():
    x = images(40)
    (axes,) = plots.plot_worst_data(x, made_khat(), count=10).axes
    assert grid_shape(axes) == (2, 8)
    assert np.allclose(drawn_tile(axes, 0, 0), x[39])
    assert np.allclose(drawn_tile(axes, 1, 1), x[30])
    khat = made_khat()["khat"].to_numpy()
    assert [text.get_text() for text in axes.texts] == [f"{khat[i]:.2f}" for i in range(39, 29, -1)]


def test_bad_input_is_described():
    with pytest.raises(DataError, match="a table of 5 columns; plot_worst_rows draws its rows"):
        plots.plot_worst_data(np.zeros((40, 5)), made_khat())
    with pytest.raises(DataError, match="expected a Dataset of run_importance"):
        plots.plot_khat(xr.Dataset())
    with pytest.raises(DataError, match="expected 40, one for each datum of the table, found 3"):
        plots.plot_worst_data(images(3), made_khat())
    ds = made_khat()
    ds["khat"][:] = np.nan
    with pytest.raises(DataError, match="no datum has a finite k-hat"):
        plots.plot_worst_data(images(40), ds)


@pytest.mark.slow
def test_the_worst_beyond_the_threshold_are_named_where_data_have_names():
    named = made_khat().assign_coords(datum=[f"p{i}" for i in range(40)])
    points, _ = plots.plot_khat(named).axes
    assert [text.get_text() for text in points.texts] == ["p39", "p38", "p37"]
    assert not plots.plot_khat(made_khat()).axes[0].texts
    named["khat"][:] = 0.1
    assert not plots.plot_khat(named).axes[0].texts
