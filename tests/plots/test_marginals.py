import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ppl_vae import plots
from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots.columns import as_table
from ppl_vae.plots.marginals import ks_distance
from tests.plots.pictures import texts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_distance_is_that_of_scipy(rng):
    for first, second in (
        (rng.normal(size=50), rng.normal(1, 2, size=70)),
        (rng.poisson(2, 40), rng.poisson(3, 30)),
    ):
        assert ks_distance(first, second) == pytest.approx(stats.ks_2samp(first, second).statistic, abs=1e-12)


def test_bars_are_a_density_of_the_data_and_steps_of_the_replicates(rng):
    x, replicates = rng.normal(size=(200, 1)), rng.normal(size=(300, 1))
    (axes,) = plots.plot_marginals(x, replicates).axes
    bars = axes.patches[:-1]
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1.0)
    values, edges, _ = axes.patches[-1].get_data()
    inside = ((replicates >= edges[0]) & (replicates <= edges[-1])).mean()
    assert (values * np.diff(edges)).sum() == pytest.approx(inside)


def test_every_count_has_a_bar_of_its_own():
    x = np.array([[0.0], [1.0], [1.0], [4.0]])
    (axes,) = plots.plot_marginals(x, x).axes
    heights = [bar.get_height() for bar in axes.patches[:-1]]
    assert heights == [0.25, 0.5, 0.0, 0.0, 0.25]


def test_bins_of_many_counts_hold_whole_numbers(rng):
    """A bin of width 1.7 would hold one count here and two there, which looks like a comb."""
    x = rng.poisson(400, size=(300, 1)).astype(float)
    (axes,) = plots.plot_marginals(x, x).axes
    edges = axes.patches[-1].get_data().edges
    assert np.array_equal((edges - 0.5) % 1, 0 * edges)
    assert len(edges) <= 41


def test_nothing_is_left_out_without_a_word(rng):
    x, replicates = rng.normal(size=(100, 2)), rng.normal(size=(2000, 2))
    x[:7, 0], replicates[:3, 1] = np.nan, 1e6
    first, second = plots.plot_marginals(x, replicates).axes
    assert "7 missing" in first.texts[0].get_text()
    values, edges, _ = second.patches[-1].get_data()
    beyond = round((1 - (values * np.diff(edges)).sum()) * 2000)
    assert beyond >= 3
    assert f"{beyond} beyond" in second.texts[0].get_text()


def test_of_many_columns_those_that_differ_most_are_drawn(rng):
    x = rng.normal(size=(100, 30))
    replicates = rng.normal(size=(5, 100, 30))
    replicates[..., [3, 20]] += 4
    figure = plots.plot_marginals(x, replicates, max_panels=2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x4", "x21"]
    assert "2 of 30 columns, those that differ most" in texts(figure)


def test_names_are_those_of_a_frame(rng):
    x = pd.DataFrame(rng.normal(size=(20, 2)), columns=["age", "height"])
    figure = plots.plot_marginals(x, x.to_numpy())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["age", "height"]


def test_refuses_other_things(rng):
    x = rng.normal(size=(20, 3))
    with pytest.raises(DataError, match="expected the 3 columns of x, found 2"):
        plots.plot_marginals(x, x[:, :2])
    with pytest.raises(DataError, match="images are drawn by plot_samples"):
        plots.plot_marginals(np.zeros((5, 1, 4, 4)), x)
    with pytest.raises(DataError, match="1 of 60 numbers are infinite"):
        plots.plot_marginals(np.where(np.arange(60).reshape(20, 3) == 5, np.inf, x), x)
    with pytest.raises(DataError, match="'x2' has no value"):
        plots.plot_marginals(np.where(np.arange(3) == 1, np.nan, x), x)
    with pytest.raises(DataError, match="names: expected 3"):
        plots.plot_marginals(x, x, names=["a"])
    with pytest.raises(ModelError, match="max_panels"):
        plots.plot_marginals(x, x, max_panels=0)


def test_categories_are_their_codes_and_have_the_same_levels_on_both_sides():
    levels = pd.CategoricalDtype(["I", "II", "III"], ordered=True)
    x = pd.DataFrame(
        {"stage": pd.Series(["I", "III", None, "I"], dtype=levels), "smoker": [True, False, True, True]}
    )
    drawn = x.iloc[[0, 0, 0, 1]]
    assert "1 missing" in " ".join(texts(plots.plot_marginals(x, drawn)))
    assert as_table("x", x).tolist()[1] == [2.0, 0.0]
    assert np.isnan(as_table("x", x)[2, 0])
    with pytest.raises(DataError, match=r"column 'stage' has the levels .*, unlike the table beside it"):
        plots.plot_marginals(x, drawn.assign(stage=drawn["stage"].cat.rename_categories(["a", "b", "c"])))
    with pytest.raises(DataError, match="text is drawn as a category"):
        plots.plot_marginals(x.assign(stage="I"), drawn)


def test_columns_of_two_frames_are_matched_by_name(rng):
    x = pd.DataFrame({"age": rng.normal(50, 9, 30), "rate": pd.array([1, None, 3] * 10, dtype="Int64")})
    turned = x[["rate", "age"]]
    assert np.array_equal(as_table("replicates", turned, 2, x), as_table("x", x), equal_nan=True)
    assert np.isnan(as_table("x", x)[1, 1]), "a missing whole number is a missing cell"
    assert np.array_equal(as_table("replicates", turned.to_numpy(float, na_value=np.nan), 2, x)[:, 1], x["age"])
    with pytest.raises(DataError, match="column 'height' is none of the table beside it: age, rate"):
        as_table("replicates", turned.rename(columns={"age": "height"}), 2, x)
    axes = plots.plot_column_reconstructions(
        x[["age"]].assign(b=2 * x["age"]), x[["age"]].assign(a=0)[["a", "age"]].rename(columns={"a": "b"})
    )
    assert axes.axes[0].texts[0].get_text().startswith("RMSE 0\n")


def test_a_category_has_its_words_at_the_axis(rng):
    cities = ["Bonn", "Oslo", "Rome"]
    frame = pd.DataFrame(
        {"age": rng.normal(size=60), "city": pd.Categorical(rng.choice(cities, 60), categories=cities)}
    )
    age, city = plots.plot_marginals(frame, frame).axes
    assert [text.get_text() for text in city.get_xticklabels()] == cities
    assert not {text.get_text() for text in age.get_xticklabels()} & set(cities)
    _, beside, _ = plots.plot_pairs(frame[["city", "age"]], frame[["city", "age"]]).axes
    assert [text.get_text() for text in beside.get_xticklabels()] == cities
