"""No figure leaves points out without a word: what has no place on the axes is counted on it."""

import numpy as np
import pytest

from ppl_vae import plots
from ppl_vae.errors import DataError
from tests.inference.comparisons import made_table
from tests.plots.pictures import images, texts
from tests.plots.test_attribute_changes import made_changes
from tests.plots.test_calibration import made_calibration
from tests.plots.test_coverage import made_coverage
from tests.plots.test_estimators import along
from tests.plots.test_evidence import made_curve
from tests.plots.test_figure import HISTORY
from tests.plots.test_gaps import split_gaps
from tests.plots.test_khat import made_khat
from tests.plots.test_predictive import made_predictive
from tests.plots.test_reference_posterior import two_sets


def holed(table, variable, count=1):
    """A copy whose first entries are NaN."""
    values = table[variable].to_numpy().astype(float)
    values.flat[:count] = np.nan
    return table.assign({variable: (table[variable].dims, values)})


DRAWN = {
    "values": (lambda: plots.plot_estimator_values(holed(made_table(), "draw", 3)), "3 of", "not finite"),
    "snr": (lambda: plots.plot_snr(holed(along("num_particles", (1, 4)), "snr", 2)), "not drawn", "not finite"),
    "cost": (lambda: plots.plot_estimator_cost(holed(made_table(), "gradient_variance")), "not finite: ", ""),
    "evidence": (lambda: plots.plot_evidence_curve(holed(made_curve(), "jackknife")), "1 of", "not finite"),
    "gaps": (lambda: plots.plot_gaps(holed(split_gaps(), "amortisation_gap", 2)), "2 of", "without a finite gap"),
    "khat": (lambda: plots.plot_worst_data(images(40), holed(made_khat(40), "khat", 4)), "of 40", "finite k-hat"),
    "holes": (lambda: plots.plot_latent_holes({"VAE": images(50)}), "VAE (28 of 50)", ""),
    "loss": (lambda: plots.plot_learning_curves(HISTORY.assign(loss=[1.0, np.inf])), "1 of 2 not finite", ""),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_not_drawn_is_counted(name):
    draw, *words = DRAWN[name]
    written = texts(draw())
    assert any(all(word in text for word in words) for text in written), written


def test_split_curves_say_in_how_many_epochs_they_are_known():
    figure = plots.plot_learning_curves(HISTORY.assign(train_elbo=[1.0, np.nan]))
    assert "train (1 of 2 epochs)" in texts(figure)


def test_draws_of_the_reference_are_counted():
    (legend,) = plots.plot_reference(two_sets(), reference="NUTS").legends
    told = legend.get_texts()[0].get_text()
    assert told.startswith("NUTS (")
    assert "beyond the frame" in told


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda: plots.plot_calibration(holed(made_calibration(), "ecdf_difference")), "ecdf_difference"),
        (lambda: plots.plot_coverage(holed(made_coverage(), "coverage")), "coverage"),
        (lambda: plots.plot_predictive(holed(made_predictive(), "replicated")), "replicated"),
        (lambda: plots.plot_predictive(holed(made_predictive(), "observed")), "observed"),
        (lambda: plots.plot_attribute_changes(holed(made_changes(), "changed")), "changed"),
    ],
)
def test_curves_that_would_break_are_refused_by_name(draw, name):
    with pytest.raises(DataError, match=rf"\['{name}'\]: expected finite values, found 1 of"):
        draw()
