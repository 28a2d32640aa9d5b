import numpy as np
import pytest

from ppl_vae import plots
from ppl_vae.errors import DataError, ModelError
from tests.plots.pictures import texts


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(30, 6))


def test_points_are_the_rows_of_the_two_columns(x):
    figure = plots.plot_pairs(x, x + 1, columns=[4, "x1"])
    _, pair, _ = figure.axes
    replicates, data = (scatter.get_offsets() for scatter in pair.collections)
    assert np.array_equal(data, x[:, [4, 0]])
    assert np.array_equal(replicates, x[:, [4, 0]] + 1)


@pytest.mark.slow
def test_says_how_many_rows_and_columns_are_not_drawn(x):
    many = np.tile(x, (50, 1))
    x[2, 0] = np.nan
    figure = plots.plot_pairs(x, many)
    assert "data (30 rows, 1 with missing cells)" in texts(figure)
    assert any("replicates (30 of 1500 rows" in text for text in texts(figure))
    assert "5 of 6 columns" in texts(figure)


@pytest.mark.slow
def test_data_may_stand_alone(x):
    figure = plots.plot_pairs(x[:, :2])
    assert len(figure.axes[1].collections) == 1
    assert not any("replicates" in text for text in texts(figure))


def test_refuses_other_things(x):
    with pytest.raises(ModelError, match=r"expected some of x1, .* got 'age'"):
        plots.plot_pairs(x, columns=["age"])
    with pytest.raises(ModelError, match="at least one"):
        plots.plot_pairs(x, columns=[])
    with pytest.raises(DataError, match="expected the 6 columns"):
        plots.plot_pairs(x, x[:, :2])
    with pytest.raises(DataError, match="'x2' has no value"):
        plots.plot_pairs(np.where(np.arange(6) == 1, np.nan, x))
