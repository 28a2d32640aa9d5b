"""The figure of class structure holds what the table says."""

import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_class_structure


def made_classes():
    dims = ("codes", "score")
    values = {"value": [[0.3, 0.9], [0.1, 0.7]], "stderr": [[0.02, 0.01]] * 2, "chance": [[0.0, 0.1]] * 2}
    names = {"codes": ["means", "pixels"], "score": ["silhouette", "neighbours' accuracy"]}
    return xr.Dataset({name: (dims, np.array(value)) for name, value in values.items()}, names)


def test_points_and_whiskers_are_the_scores_and_two_errors():
    (axes,) = plot_class_structure(made_classes()).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["means", "pixels"]
    points = [container.lines[0].get_xdata() for container in axes.containers]
    np.testing.assert_allclose(points, [[0.3, 0.1], [0.9, 0.7]])
    np.testing.assert_allclose(axes.containers[1].lines[2][0].get_segments()[0][:, 0], [0.88, 0.92])


def test_another_table_is_refused_by_what_it_lacks():
    with pytest.raises(DataError, match=r"found no chance$"):
        plot_class_structure(made_classes().drop_vars("chance"))
