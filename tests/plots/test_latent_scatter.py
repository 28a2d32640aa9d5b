import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import plot_latent_scatter

CODES = np.random.default_rng(0).normal(size=(60, 4))


def point_colours(figure):
    """The colour of each drawn point, without its transparency."""
    (scatter,) = figure.axes[0].collections
    scatter.update_scalarmappable()
    return np.broadcast_to(scatter.get_facecolors()[:, :3], (len(CODES), 3))


@pytest.mark.parametrize("dims", [(0, 1), (3, 1)])
def test_draws_the_chosen_dimensions(dims):
    (axes,) = plot_latent_scatter(torch.tensor(CODES), dims=dims).axes
    assert np.array_equal(axes.collections[0].get_offsets(), CODES[:, list(dims)])
    assert axes.get_xlabel() == f"$z_{{{dims[0] + 1}}}$"
    assert axes.get_ylabel() == f"$z_{{{dims[1] + 1}}}$"
    assert axes.get_legend() is None


@pytest.mark.parametrize("names", [[3, 5, 9], ["bag", "boot", "shirt"], [False, True]])
def test_the_legend_tells_the_colour_of_each_class(names):
    labels = np.array(names)[np.arange(60) % len(names)]
    figure = plot_latent_scatter(CODES, labels)
    legend = figure.axes[0].get_legend()
    colours = {
        text.get_text(): to_hex(mark.get_color())
        for text, mark in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert list(colours) == [str(name) for name in names]
    assert len(set(colours.values())) == len(names)
    for label, colour in zip(labels, point_colours(figure), strict=True):
        assert to_hex(colour) == colours[str(label)]


def test_one_class_has_one_colour():
    figure = plot_latent_scatter(CODES, torch.zeros(60, dtype=torch.int64))
    assert len(np.unique(point_colours(figure), axis=0)) == 1
    assert len(figure.axes[0].get_legend().get_texts()) == 1


def test_many_classes_have_a_stepped_colour_bar():
    labels = np.arange(60) % 20 + 100
    figure = plot_latent_scatter(CODES, labels)
    assert len(figure.axes) == 2
    assert len(np.unique(point_colours(figure), axis=0)) == 20
    ticks = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert ticks == [str(label) for label in range(100, 120, 2)]
    expected = mpl.colormaps["viridis"](np.linspace(0, 1, 20))[labels - 100, :3]
    assert np.allclose(point_colours(figure), expected, atol=0.01)


def test_a_real_factor_has_a_smooth_colour_bar():
    factor = np.linspace(2.0, 5.0, 60)
    figure = plot_latent_scatter(CODES, torch.tensor(factor))
    assert figure.axes[1].get_ylim() == pytest.approx((2.0, 5.0))
    expected = mpl.colormaps["viridis"]((factor - 2) / 3)[:, :3]
    assert np.allclose(point_colours(figure), expected, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
def test_circles_of_the_prior_and_all_points_are_in_view(scale):
    codes = scale * CODES
    figure = plot_latent_scatter(codes)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [circle.radius for circle in axes.patches] == [1, 2, 3]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert min(right, top) >= 3.0
    assert max(left, bottom) <= -3.0
    assert np.all((codes[:, 0] >= left) & (codes[:, 0] <= right))
    assert np.all((codes[:, 1] >= bottom) & (codes[:, 1] <= top))
    box = axes.get_window_extent()
    assert np.isclose(box.width / (right - left), box.height / (top - bottom), rtol=0.01)


def test_circles_can_be_left_out():
    (axes,) = plot_latent_scatter(CODES, prior_circles=False).axes
    assert len(axes.patches) == 0
    assert axes.get_title(loc="right") == ""


def test_class_colours_differ_for_all_ten_classes():
    colours = point_colours(plot_latent_scatter(CODES, np.arange(60) % 10))[:10]
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(colours, 2)) > 0.25


def test_refuses_bad_input():
    with pytest.raises(DataError, match=r"\[N, L\] with N >= 1 and L >= 2, found \(60, 1\)"):
        plot_latent_scatter(CODES[:, :1])
    with pytest.raises(ModelError, match=r"dims: expected two of 0 to 3, found \(0, 4\)"):
        plot_latent_scatter(CODES, dims=(0, 4))
    with pytest.raises(DataError, match=r"labels: expected 60, one for each code, found shape \(60, 1\)"):
        plot_latent_scatter(CODES, np.zeros((60, 1), dtype=int))
    with pytest.raises(DataError, match="codes: expected finite values, found 240 of 240"):
        plot_latent_scatter(CODES * np.nan)
