"""The figure of a sweep: scores where they belong, the best point marked, points without a score counted."""

import numpy as np
import pytest
import torch

from ppl_vae import plots
from ppl_vae.errors import DataError
from ppl_vae.sweep.table import Point, as_table


def made_sweep(failed=False):
    """Four points of two options with two seeds; the third is the best."""
    points = []
    for number, (rate, network) in enumerate([(1e-4, "mlp"), (1e-3, "mlp"), (1e-2, "conv"), (1e-1, "conv")]):
        noise = torch.linspace(-1.0, 1.0, 20, dtype=torch.float64)
        scores = [noise * (number + 1) - abs(number - 2) + seed * 0.1 for seed in range(2)]
        results = [{"status": "done", "epochs": 3, "seconds": 1.0}] * 2
        if failed and number == 0:
            scores, results = [None, None], [{"status": "failed"}] * 2
        points.append(Point(number, {"lr": rate, "network": network}, results, scores))
    return as_table(points, [0, 1], "elbo", {})


def test_points_stand_at_their_scores_and_the_best_is_marked():
    numbers = made_sweep()
    figure = plots.plot_sweep(numbers)
    left, right = figure.axes
    assert left.get_xscale() == "log"
    assert [text.get_text() for text in right.get_xticklabels()] == ["conv", "mlp"]
    others, best = (collection.get_offsets() for collection in left.collections[-2:])
    np.testing.assert_allclose(best, [[1e-2, 0.05]])
    np.testing.assert_allclose(np.sort(others[:, 1]), [-1.95, -0.95, -0.95])


def test_points_without_a_score_are_counted_and_none_at_all_is_refused():
    figure = plots.plot_sweep(made_sweep(failed=True))
    assert figure.get_supxlabel() == "1 of 4 points were pruned or failed"
    numbers = made_sweep()
    with pytest.raises(DataError, match="none of 4 points"):
        plots.plot_sweep(numbers.assign(elbo=numbers.elbo * np.nan))
    with pytest.raises(DataError, match="expected those of a sweep"):
        plots.plot_sweep(numbers.drop_vars("behind_stderr"))
