"""Silhouettes and neighbours of classes: beside scikit-learn's own, and by hand."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae.diagnostics import check_class_structure, run_class_structure
from ppl_vae.errors import DataError


def clusters(apart, n=150, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return apart * np.eye(3)[y] + rng.normal(size=(n, 3)), y


@pytest.mark.slow
def test_scores_are_those_of_scikit_learn():
    codes, y = clusters(2.0)
    numbers = run_class_structure({"codes": codes}, y, num_neighbours=1)
    silhouette, accuracy = numbers["value"].sel(codes="codes").values
    assert silhouette == pytest.approx(silhouette_score(codes, y))
    assert accuracy == cross_val_score(KNeighborsClassifier(1), codes, y, cv=LeaveOneOut()).mean()


def test_points_on_a_line_by_hand():
    """Two classes at 0 and 1, ten times each: silhouette 1, and all neighbours right."""
    y = np.repeat([0, 1], 10)
    numbers = run_class_structure({"codes": y[:, None].astype(float)}, y, num_neighbours=3)
    np.testing.assert_allclose(numbers["value"].values, [[1, 1]])
    assert {verdict.level for verdict in check_class_structure(numbers)} == {"good"}


@pytest.mark.parametrize("is_sorted", [True, False])
def test_of_discrete_codes_the_neighbours_are_any_of_equal_ones(is_sorted):
    """Codes of two values that know nothing of classes of .35 and .65: ten neighbours at random vote."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [105, 195])
    y = y if is_sorted else rng.permutation(y)
    numbers = run_class_structure({"c": rng.integers(0, 2, (300, 1)).astype(float)}, y)
    votes = stats.binom(10, 0.65)
    likelier = votes.sf(5) + 0.5 * votes.pmf(5)
    found = numbers.sel(codes="c", score="neighbours' accuracy")
    exact = 0.65 * likelier + 0.35 * (1 - likelier)
    assert abs(found["value"].item() - exact) < 3 * found["stderr"].item()
    assert abs(found["chance"].item() - exact) < 3 * found["stderr"].item()


@pytest.mark.slow
def test_the_error_of_the_silhouette_is_the_spread_of_repeats():
    """Of 40 repeats, within 40%: the jackknife of ten groups has an error of a quarter itself."""
    repeats = [
        run_class_structure({"c": clusters(1.5, 60, seed)[0]}, np.arange(60) % 3, num_shuffles=1)
        for seed in range(40)
    ]
    values = np.array([each["value"].values[0] for each in repeats])
    errors = np.array([each["stderr"].values[0] for each in repeats])
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2, 0)), values.std(0, ddof=1), rtol=0.4)


def test_codes_that_know_nothing_are_at_chance_and_the_verdict_leans_the_right_way():
    near, y = clusters(3.0)
    noise = np.random.default_rng(1).normal(size=near.shape)
    numbers = run_class_structure({"near": near, "noise": noise}, y, seed=1)
    difference = (numbers["value"] - numbers["chance"]).sel(codes="noise")
    assert (abs(difference) < 4 * np.hypot(numbers["stderr"], numbers["chance_spread"]).sel(codes="noise")).all()
    good, bad = check_class_structure(numbers)
    assert (good.diagnostic, good.level) == ("classes in near", "good")
    assert bad.level in ("bad", "doubtful")
    assert abs(bad.value - 1) < 4 * bad.stderr


@pytest.mark.slow
def test_names_of_classes_and_images_are_taken_and_many_data_are_drawn_from():
    codes, y = clusters(3.0, 2100)
    names = np.array(["a", "b", "c"])[y]
    numbers = run_class_structure({"images": codes.reshape(-1, 3, 1)}, names, num_shuffles=1)
    assert numbers.attrs["num_data"] == 2000
    assert numbers["value"].sel(score="neighbours' accuracy").item() > 0.9


def test_mistakes_are_named():
    codes, y = clusters(3.0)
    with pytest.raises(DataError, match="codes 'codes': expected one row for each of 150 classes, got 149"):
        run_class_structure({"codes": codes[1:]}, y)
    with pytest.raises(DataError, match="codes 'codes': 1 values are NaN"):
        run_class_structure({"codes": np.where(np.arange(450).reshape(150, 3) == 0, np.nan, codes)}, y)
    with pytest.raises(DataError, match="at least two classes and two data of each"):
        run_class_structure({"codes": codes}, np.arange(150) // 149)
    with pytest.raises(DataError, match="neighbours need more data than 15"):
        run_class_structure({"codes": codes[:15]}, y[:15])
    with pytest.raises(DataError, match="expected what run_class_structure returns"):
        check_class_structure(xr.Dataset({"other": ("datum", [1.0])}))
