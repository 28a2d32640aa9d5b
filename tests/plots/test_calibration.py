import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_calibration
from ppl_vae.plots.style import BLUE, VERMILION

FRACTION = np.arange(1, 10) / 10
BAND = 0.2 * np.sqrt(FRACTION * (1 - FRACTION))


def made_calibration(names=("z[0]", "z[1]", "log p(x|z)"), outside=(1,)):
    """Numbers of our choice: curves that lie on half the band, and beyond it where they are to be outside."""
    curves = np.stack([BAND * (3.0 if index in outside else 0.5) for index in range(len(names))])
    return xr.Dataset(
        {
            "ecdf_difference": (("quantity", "fraction"), curves),
            "p_value": ("quantity", [0.001 if index in outside else 0.5 for index in range(len(names))]),
            "band_lower": ("fraction", -BAND),
            "band_upper": ("fraction", BAND),
        },
        {"quantity": list(names), "fraction": FRACTION},
        {"band_level": 0.95, "importance_weighted": 0},
    )


def curve(axes):
    return axes.get_lines()[-1]


def test_a_panel_a_quantity_with_its_curve_between_fixed_ends():
    table = made_calibration()
    figure = plot_calibration(table)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["z[0]", "z[1]", "log p(x|z)"]
    for index, axes in enumerate(figure.axes):
        assert np.allclose(curve(axes).get_xdata(), [0, *FRACTION, 1])
        assert np.allclose(curve(axes).get_ydata(), [0, *table["ecdf_difference"][index], 0])


def test_curves_that_leave_the_band_have_another_colour():
    colours = [to_hex(curve(axes).get_color()) for axes in plot_calibration(made_calibration()).axes]
    assert colours == [BLUE, VERMILION, BLUE]


def test_of_many_quantities_the_worst_are_shown_in_their_order():
    names = [f"z[{index}]" for index in range(30)]
    figure = plot_calibration(made_calibration(names, outside=(25, 7)), max_panels=3)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["z[0]", "z[7]", "z[25]"]
    assert "30 curves together, 3 shown" in figure.legends[0].get_texts()[0].get_text()


def test_weighted_ranks_are_called_so():
    figure = plot_calibration(made_calibration().assign_attrs(importance_weighted=1))
    assert "weighted rank" in figure.axes[-1].get_xlabel()


def test_refuses_other_numbers():
    with pytest.raises(DataError, match="what run_calibration returns; missing p_value"):
        plot_calibration(made_calibration().drop_vars("p_value"))
