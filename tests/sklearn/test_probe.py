"""The probe beside scikit-learn's own scores."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ppl_vae as pv
from ppl_vae.errors import DataError


@pytest.mark.slow
def test_accuracies_are_those_of_scikit_learn_and_the_truth_wins():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    train, test = slice(0, 600), slice(600, 1000)
    # As a stand-in for a VAE: what is compared is only the code.
    table = pv.sklearn.linear_probe(PCA(8, random_state=0), X[train], y[train], X[test], y[test], num_components=3)
    wanted = make_pipeline(PCA(3, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000))
    assert list(table["dimensions"]) == [8, 3, 3, 64]
    assert table["accuracy"].iloc[1] == wanted.fit(X[train], y[train]).score(X[test], y[test])
    share = table["accuracy"].iloc[0]
    assert table["accuracy_stderr"].iloc[0] == pytest.approx(np.sqrt(share * (1 - share) / 399))
    assert table["difference"].iloc[0] == 0
    assert table["difference"].iloc[1] < -4 * table["difference_stderr"].iloc[1]
    assert table["difference"].iloc[3] > 2 * table["difference_stderr"].iloc[3]


def test_mistakes_are_named():
    X, y = load_digits(return_X_y=True)
    with pytest.raises(DataError, match="linear probe: "):
        pv.sklearn.linear_probe(PCA(2), X[:50], y[:40], X[50:60], y[50:60])
    with pytest.raises(DataError, match="num_components: PCA of 50 data"):
        pv.sklearn.linear_probe(PCA(2), X[:50], y[:50], X[50:60], y[50:60], num_components=60)
