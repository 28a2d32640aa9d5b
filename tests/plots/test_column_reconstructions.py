import numpy as np
import pytest
from sklearn.metrics import r2_score, root_mean_squared_error

from ppl_vae import plots
from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots.column_reconstructions import column_error
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


def test_a_constant_column_has_no_share(x):
    x[:, 0] = 1.0
    (axes,) = plots.plot_column_reconstructions(x[:, :1], x[:, 1:2]).axes
    assert "R²" not in axes.texts[0].get_text()


def test_refuses_other_things(x):
    with pytest.raises(DataError, match=r"expected the shape of the data, \(30, 20\), found \(30, 19\)"):
        plots.plot_column_reconstructions(x, x[:, 1:])
    with pytest.raises(DataError, match="reconstruction: 1 of 600 numbers are NaN"):
        plots.plot_column_reconstructions(x, np.where(np.arange(600).reshape(30, 20) == 3, np.nan, x))
    with pytest.raises(ModelError, match="max_panels"):
        plots.plot_column_reconstructions(x, x, max_panels=0)
