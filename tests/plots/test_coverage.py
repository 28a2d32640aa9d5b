import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_coverage
from ppl_vae.plots.style import BLUE, VERMILION

NOMINAL = np.arange(1, 10) / 10
BEND = NOMINAL * (1 - NOMINAL)


def made_coverage(regions=("z[0]", "z[1]", "highest density", "TARP"), bends=(0.0, 0.5, 0.1, -0.5)):
    """Numbers of our choice: curves bent by so much, in a band of 0.2."""
    kinds = ["central" if name.startswith("z") else name for name in regions]
    return xr.Dataset(
        {
            "coverage": (("region", "nominal"), np.stack([NOMINAL + bend * BEND for bend in bends])),
            "band_lower": ("nominal", NOMINAL - 0.2 * BEND),
            "band_upper": ("nominal", NOMINAL + 0.2 * BEND),
            "atc": -0.034,
            "atc_stderr": 0.005,
        },
        {"region": list(regions), "kind": ("region", kinds), "nominal": NOMINAL},
        {"band_level": 0.95},
    )


def test_a_panel_a_kind_with_all_its_curves_from_corner_to_corner():
    table = made_coverage()
    panels = plot_coverage(table).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["central intervals", "highest density", "TARP"]
    curves = [line for axes in panels for line in axes.get_lines()[1:]]
    for line, expected in zip(curves, table["coverage"].to_numpy(), strict=True):
        assert np.allclose(line.get_xdata(), [0, *NOMINAL, 1])
        assert np.allclose(line.get_ydata(), [0, *expected, 1])
    assert [to_hex(line.get_color()) for line in curves] == [BLUE, VERMILION, BLUE, VERMILION]


def test_the_area_and_the_farthest_dimension_are_written():
    panels = plot_coverage(made_coverage()).axes
    written = [" ".join(text.get_text() for text in axes.texts) for axes in panels]
    assert "1 of 2 outside" in written[0]
    assert "farthest z[1]" in written[0]
    assert written[2] == "ATC \N{MINUS SIGN}0.034\n± 0.005"


def test_without_regions_of_highest_density_there_is_no_panel_for_them():
    figure = plot_coverage(made_coverage().drop_sel(region="highest density"))
    assert len(figure.axes) == 2


def test_refuses_other_numbers():
    with pytest.raises(DataError, match="what run_coverage returns; missing atc"):
        plot_coverage(made_coverage().drop_vars("atc"))
