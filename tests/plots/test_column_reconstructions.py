import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

from ppl_vae import plots
from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots.column_reconstructions import column_error, level_error
from tests.plots.pictures import texts


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(30, 20))


def test_the_errors_are_those_of_sklearn(x):
    error, share = column_error("a", x[:, 0], x[:, 1])
    assert error == pytest.approx(root_mean_squared_error(x[:, 0], x[:, 1]))
    assert share == pytest.approx(r2_score(x[:, 0], x[:, 1]))


def test_points_are_the_cells_and_missing_ones_are_counted(x):
    holes = np.where(np.arange(30)[:, None] < 4, np.nan, x)
    axes = plots.plot_column_reconstructions(holes, x / 2, max_panels=20).axes[0]
    assert np.array_equal(axes.collections[0].get_offsets().data, np.column_stack([x, x / 2])[4:, [0, 20]])
    assert axes.texts[0].get_text().endswith("4 missing")


@pytest.mark.slow
def test_of_many_columns_the_worst_are_drawn(x):
    made = x.copy()
    made[:, [2, 17]] = 0.0
    figure = plots.plot_column_reconstructions(x, made, max_panels=2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x3", "x18"]
    assert "2 of 20 columns, those reconstructed worst" in texts(figure)


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_a_constant_column_has_no_share(x, value):
    """Of 0.1 the mean is rounded: R² was -1e34, and the column the worst of all."""
    x[:, 0] = value
    (axes,) = plots.plot_column_reconstructions(x[:, :1], x[:, 1:2]).axes
    assert "R²" not in axes.texts[0].get_text()


def test_refuses_other_things(x):
    with pytest.raises(DataError, match=r"expected the shape of the data, \(30, 20\), found \(30, 19\)"):
        plots.plot_column_reconstructions(x, x[:, 1:])
    with pytest.raises(DataError, match="reconstruction: 1 of 600 numbers are NaN"):
        plots.plot_column_reconstructions(x, np.where(np.arange(600).reshape(30, 20) == 3, np.nan, x))
    with pytest.raises(ModelError, match="max_panels"):
        plots.plot_column_reconstructions(x, x, max_panels=0)


SITES = pd.Categorical.from_codes([0, 1, 1, 2, -1, 1], ["south", "north", "west"])
MADE = pd.Categorical.from_codes([0, 1, 0, 2, 1, 1], SITES.categories)


def ticks(axis):
    return [each.get_text() for each in axis.get_ticklabels()]


def test_categories_stand_by_their_words_with_the_share_of_right_levels():
    """They stood by their codes, with an error of these."""
    x, made = (pd.DataFrame({"site": site, "age": np.arange(6.0)}) for site in (SITES, MADE))
    axes = plots.plot_column_reconstructions(x, made).axes[0]
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == ["south", "north", "west"]
    points = axes.collections[0].get_offsets().data.tolist()
    assert points == [[0, 0], [1, 0], [1, 1], [2, 2]]
    assert axes.collections[0].get_sizes().tolist() == [40, 40, 80, 40]
    known = SITES.codes >= 0
    right = accuracy_score(SITES.codes[known], MADE.codes[known])
    assert axes.texts[0].get_text() == f"right {right:.0%}\n1 missing"
    # Means of codes, as an array has them, keep their error; their axes have words.
    axes = plots.plot_column_reconstructions(x, np.full((6, 2), 0.5)).axes[0]
    assert axes.texts[0].get_text().startswith("RMSE")
    assert ticks(axes.yaxis) == ["south", "north", "west"]


def test_the_share_of_a_category_is_that_of_goodman_and_kruskal():
    """Always "a" is wrong in 2 of 5; of these 2 mistakes one is not made."""
    assert level_error("x", np.array([0, 0, 0, 1, 2.0]), np.array([0, 0, 0, 1, 0.0])) == pytest.approx((0.2, 0.5))
    with pytest.raises(DataError, match="column 'x' has no value"):
        level_error("x", np.array([np.nan]), np.zeros(1))
