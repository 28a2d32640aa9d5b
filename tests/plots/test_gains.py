import matplotlib.colors
import pytest

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_gains
from ppl_vae.plots.style import BLUE, REFERENCE, VERMILION

GAINS = {"full covariance": (0.4, 0.1), "flow": (0.1, 0.06), "mixture": (-0.5, 0.2)}


def test_points_and_whiskers_stand_where_the_numbers_say():
    (axes,) = plot_gains(GAINS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(GAINS)
    for row, (container, (value, error)) in enumerate(zip(axes.containers, GAINS.values(), strict=True)):
        points, _, (whisker,) = container.lines
        assert points.get_xydata().tolist() == [[value, row]]
        assert whisker.get_segments()[0][:, 0] == pytest.approx([value - 2 * error, value + 2 * error])


def test_colours_tell_gains_and_losses_from_what_may_be_noise():
    (axes,) = plot_gains(GAINS).axes
    found = [matplotlib.colors.to_hex(container.lines[0].get_color()) for container in axes.containers]
    assert found == [BLUE, REFERENCE, VERMILION]


def test_the_first_change_stands_at_the_top():
    (axes,) = plot_gains(GAINS).axes
    bottom, top = axes.get_ylim()
    assert bottom > top


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ({}, "gains: expected at least one"),
        ({"flow": (1.0,)}, r"gains\['flow'\]: expected a difference and its standard error"),
        ({"flow": (float("nan"), 0.1)}, r"gains\['flow'\]: expected two finite numbers"),
        ({"flow": (0.3, -0.1)}, "an error of at least 0"),
    ],
)
def test_what_is_no_gain_is_refused_by_name(gains, message):
    with pytest.raises(DataError, match=message):
        plot_gains(gains)
