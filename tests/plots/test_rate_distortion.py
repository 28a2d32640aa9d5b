import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_rate_distortion
from ppl_vae.plots.style import BLUE, VERMILION

NAMES = ["beta = 0.25", "beta = 1", "beta = 4", "worse"]
RATE, DISTORTION = np.array([9.0, 5.0, 2.0, 6.0]), np.array([15.0, 16.0, 22.0, 18.0])


def compared(seeds=3, likelihood=("bernoulli",) * 4):
    """A table of our choice: seeds differ by one nat each, so that means are the constants above."""
    offset = np.arange(seeds) - (seeds - 1) / 2
    variables = {
        name: (("recipe", "seed"), values[:, None] + offset)
        for name, values in (("rate", RATE), ("distortion", DISTORTION))
    }
    coordinates = {"recipe": NAMES, "seed": np.arange(seeds), "likelihood": ("recipe", list(likelihood))}
    return xr.Dataset(variables, coordinates)


def points(axes):
    """Those on the frontier, those off it, as drawn."""
    filled, hollow = axes.collections[-2:]
    assert to_hex(filled.get_facecolor()[0]) == BLUE
    assert to_hex(hollow.get_facecolor()[0]) == "#ffffff"
    return np.asarray(filled.get_offsets()), np.asarray(hollow.get_offsets())


@pytest.mark.slow
def test_points_are_means_over_seeds_and_the_frontier_has_the_undominated_ones():
    (axes,) = plot_rate_distortion(compared()).axes
    filled, hollow = points(axes)
    assert np.allclose(filled, np.column_stack([RATE, DISTORTION])[:3])
    assert np.allclose(hollow, [[6.0, 18.0]])
    line = axes.get_lines()[0]
    assert np.allclose(line.get_xdata(), [2.0, 5.0, 9.0])
    assert np.allclose(line.get_ydata(), [22.0, 16.0, 15.0])


@pytest.mark.slow
def test_bars_are_one_standard_deviation_over_the_seeds():
    (axes,) = plot_rate_distortion(compared()).axes
    horizontal, vertical = axes.containers[0].lines[2]
    assert np.allclose([np.ptp(s[:, 0]) for s in horizontal.get_segments()], 2.0)
    assert np.allclose([np.ptp(s[:, 1]) for s in vertical.get_segments()], 2.0)


@pytest.mark.slow
def test_one_seed_has_no_bars():
    figure = plot_rate_distortion(compared(seeds=1))
    assert not figure.axes[0].containers
    assert "seeds" not in figure.legends[0].get_texts()[0].get_text()


@pytest.mark.slow
def test_the_legend_speaks_of_dominated_points_only_where_there_are_some():
    shown = plot_rate_distortion(compared()), plot_rate_distortion(compared().sel(recipe=NAMES[:3]))
    assert ["dominated" in [text.get_text() for text in figure.legends[0].get_texts()] for figure in shown] == [
        True,
        False,
    ]


@pytest.mark.slow
def test_every_recipe_is_named():
    (axes,) = plot_rate_distortion(compared()).axes
    written = [text.get_text() for text in axes.texts]
    assert all(written.count(name) == 1 for name in NAMES)


@pytest.mark.slow
def test_diagonals_have_the_elbo_that_stands_at_their_end():
    (axes,) = plot_rate_distortion(compared()).axes
    ends = [(text.xy, text.get_text()) for text in axes.texts if text.get_text() not in NAMES]
    assert len(ends) >= 3
    for (rate, distortion), written in ends:
        assert rate + distortion == pytest.approx(-float(written.replace("\N{MINUS SIGN}", "-")))
        edges = axes.get_xlim()[1], *axes.get_ylim()
        assert min(abs(rate - edges[0]), *(abs(distortion - edge) for edge in edges[1:])) < 1e-9


@pytest.mark.slow
def test_the_best_elbo_has_a_line_of_its_own():
    (axes,) = plot_rate_distortion(compared()).axes
    (line,) = [line for line in axes.get_lines() if line.get_color() == VERMILION]
    assert line.get_slope() == -1
    assert sum(line.get_xy1()) == pytest.approx((RATE + DISTORTION).min())


def test_refuses_other_tables():
    with pytest.raises(DataError, match="expected rate and distortion over recipe and seed, found rate over"):
        plot_rate_distortion(compared().drop_vars("distortion"))
    with pytest.raises(DataError, match="expected rate and distortion over recipe and seed"):
        plot_rate_distortion(compared().mean("seed"))
    with pytest.raises(DataError, match="expected one likelihood, found bernoulli, gaussian"):
        plot_rate_distortion(compared(likelihood=("bernoulli", "bernoulli", "bernoulli", "gaussian")))
    table = compared()
    table["rate"][0, 0] = np.nan
    with pytest.raises(DataError, match="expected finite rates"):
        plot_rate_distortion(table)
