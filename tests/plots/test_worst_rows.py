import numpy as np
import pandas as pd
import pytest

from ppl_vae import plots
from ppl_vae.errors import DataError
from tests.plots.test_khat import made_khat

X = np.random.default_rng(0).normal(size=(40, 5)) * [1, 10, 100, 1e-3, 0]


def cells(axes):
    return np.array([text.get_text() for text in axes.texts])


@pytest.mark.slow
def test_the_worst_rows_come_first_with_name_khat_and_cells():
    named = made_khat(40).assign_coords(datum=[f"p{i}" for i in range(40)])
    (axes,) = plots.plot_worst_rows(pd.DataFrame(X, columns=list("abcde")), named, count=3).axes
    khat = named["khat"].to_numpy()
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"p{i}   {khat[i]:.2f}" for i in (39, 38, 37)]
    assert [t.get_text() for t in axes.get_xticklabels()] == list("abcde")
    assert np.allclose(cells(axes).astype(float), X[[39, 38, 37]].ravel(), rtol=0.01)
    shade = axes.images[0].get_array()
    assert np.allclose(shade[:, :4], ((X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1))[[39, 38, 37], :4])
    assert np.allclose(shade[:, 4], 0), "a constant column is nowhere unusual"


def test_the_most_unusual_columns_are_shown_and_the_rest_is_counted():
    x = np.zeros((40, 20))
    x[:, 3], x[39, [7, 11]] = np.arange(40), 100.0
    (axes,) = plots.plot_worst_rows(x, made_khat(40), count=1, max_columns=2).axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x8", "x12"]
    assert axes.get_title("right") == "2 of 20 columns, 2 of 40 rows have no finite k-hat"


def test_a_missing_cell_is_a_dash_and_in_no_mean():
    x = X.copy()
    x[39, 0], x[:20, 1] = np.nan, np.nan
    (axes,) = plots.plot_worst_rows(x, made_khat(40), count=1).axes
    assert cells(axes)[0] == "\N{EN DASH}"
    seen = x[20:, 1]
    assert np.isclose(axes.images[0].get_array()[0, 1], (x[39, 1] - seen.mean()) / seen.std())


def test_what_does_not_fit_is_described():
    with pytest.raises(DataError, match="x: expected 40 rows, one for each datum of the table, found 3"):
        plots.plot_worst_rows(X[:3], made_khat(40))
    with pytest.raises(DataError, match="expected at least 1, got 0 and 12"):
        plots.plot_worst_rows(X, made_khat(40), count=0)


def test_rows_of_a_frame_in_another_order_are_refused():
    """Each would stand beside the k-hat of another datum."""
    named = made_khat(40).assign_coords(datum=[f"p{i}" for i in range(40)])
    frame = pd.DataFrame(X, index=[f"p{i}" for i in range(40)])
    with pytest.raises(DataError, match="in another order"):
        plots.plot_worst_rows(frame[::-1], named)


def test_a_category_is_written_as_its_word():
    names = pd.Categorical.from_codes(np.arange(40) % 2, ["no", "yes"])
    (axes,) = plots.plot_worst_rows(pd.DataFrame({"a": X[:, 0], "sick": names}), made_khat(40), count=2).axes
    assert cells(axes)[[1, 3]].tolist() == [names[39], names[38]]
