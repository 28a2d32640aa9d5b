"""A linear probe: what a linear classifier reads from codes, beside other codes and the data themselves.

Alain & Bengio (2017): https://arxiv.org/abs/1610.01644
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_X_y

from ppl_vae.checks import integer
from ppl_vae.errors import DataError
from ppl_vae.renamed import by_keyword


@by_keyword("seed")
def linear_probe(
    transformer: TransformerMixin,
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    y_test: ArrayLike,
    num_components: int | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the test accuracy of logistic regression on codes with PCA, factor analysis and the raw features.

    Every code is fitted on X alone, standardised, and classified.

    Args:
        transformer: an estimator, fitted anew on X, such as a ``VAETransformer``.
        X: the data to learn from [n, n_features].
        y: their classes [n].
        X_test: held-out data [m, n_features].
        y_test: their classes [m].
        num_components: dimensions of PCA and factor analysis; as many as the transformer gives where not stated.
        seed: of PCA, factor analysis and the classifier.

    Returns:
        A row per code: "dimensions", "accuracy", its standard error over the held-out data, and the "difference"
        from the transformer's accuracy with "difference_stderr", which is paired over the data.

    Raises:
        DataError: X, y or the held-out data do not fit together.
    """
    try:
        (learnt, classes), (held_out, wanted) = check_X_y(X, y), check_X_y(X_test, y_test)
    except ValueError as error:
        raise DataError(f"linear probe: {error}") from error
    probed = clone(transformer).fit(learnt)
    dimensions = np.asarray(probed.transform(learnt[:1])).shape[1]
    size = dimensions if num_components is None else integer("num_components", num_components)
    if size > min(learnt.shape):
        rows, columns = learnt.shape
        raise DataError(f"num_components: PCA of {rows} data of {columns} features has no {size} components")
    codes = {
        type(transformer).__name__: probed,
        "PCA (the probe's)": PCA(size, random_state=seed).fit(learnt),
        "FactorAnalysis (the probe's)": FactorAnalysis(size, random_state=seed).fit(learnt),
        "raw features": FunctionTransformer().fit(learnt),
    }
    right, widths = {}, []
    for name, code in codes.items():
        train, test = (np.asarray(code.transform(data)) for data in (learnt, held_out))
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
        right[name] = classifier.fit(train, classes).predict(test) == wanted
        widths.append(train.shape[1])
    return _table(right, widths)


def _table(right: Mapping[str, NDArray[np.bool_]], widths: list[int]) -> pd.DataFrame:
    own = next(iter(right.values())).astype(float)
    rows = {}
    for (name, correct), width in zip(right.items(), widths, strict=True):
        difference = correct - own
        rows[name] = {
            "dimensions": width,
            "accuracy": correct.mean(),
            "accuracy_stderr": correct.std(ddof=1) / math.sqrt(len(correct)),
            "difference": difference.mean(),
            "difference_stderr": difference.std(ddof=1) / math.sqrt(len(correct)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
