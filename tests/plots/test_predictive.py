import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_predictive
from ppl_vae.plots.style import BLUE, GREEN, INK


def made_predictive():
    """Replicates of our choice for two statistics; the second is constant in all of them."""
    draws = np.linspace(-1, 1, 99)
    replicated = np.stack([[draws, 0 * draws], [0.5 * draws, 0 * draws]])
    return xr.Dataset(
        {
            "observed": ("statistic", [0.8, 0.3]),
            "replicated": (("kind", "statistic", "draw"), replicated),
            "p_value": (("kind", "statistic"), [[0.2, 0.02], [0.02, 0.02]]),
        },
        {"kind": ["population", "local"], "statistic": ["mean", "share of zeros"]},
    )


def test_a_panel_a_statistic_with_both_histograms_and_the_data():
    mean, zeros = plot_predictive(made_predictive()).axes
    assert [axes.get_title(loc="left") for axes in (mean, zeros)] == ["mean", "share of zeros"]
    areas = {}
    for bar in mean.patches:
        colour = to_hex(bar.get_facecolor())
        areas[colour] = areas.get(colour, 0.0) + bar.get_width() * bar.get_height()
    assert areas == {BLUE: pytest.approx(1.0), GREEN: pytest.approx(1.0)}
    for axes, observed in ((mean, 0.8), (zeros, 0.3)):
        (line,) = [line for line in axes.get_lines() if line.get_color() == INK]
        assert list(line.get_xdata()) == [observed, observed]


def test_constant_replicates_are_a_line_inside_the_panel():
    _, zeros = plot_predictive(made_predictive()).axes
    lines = [line for line in zeros.get_lines() if line.get_color() != INK]
    assert [list(line.get_xdata()) for line in lines] == [[0, 0], [0, 0]]
    low, high = zeros.get_xlim()
    assert low < 0 < 0.3 < high < 0.35


def test_a_p_value_without_a_replicate_as_extreme_is_a_bound():
    mean, _ = plot_predictive(made_predictive()).axes
    assert [text.get_text() for text in mean.texts] == ["p ≤ 0.020", "p = 0.200"]


def test_the_legend_tells_the_two_kinds_apart():
    written = [text.get_text() for text in plot_predictive(made_predictive()).legends[0].get_texts()]
    assert written[0].startswith("population")
    assert "optimistic" in written[1]
    assert written[2] == "the data"


def test_refuses_other_numbers():
    with pytest.raises(DataError, match="what run_predictive returns; missing observed"):
        plot_predictive(made_predictive().drop_vars("observed"))
