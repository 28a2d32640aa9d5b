"""The contract of every topic: a Dataset of numbers, verdicts on it, words, and figures and a table of the same."""

import dataclasses

import matplotlib.figure
import pytest
import xarray as xr

from ppl_vae import diagnostics, plots
from ppl_vae.diagnostics import Verdict, diagnose
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.errors import DataError
from tests.diagnostics.small_effort import SMALL
from tests.inference.two_levels import X, parameters, plain_pair
from tests.scenarios import draw_data, linear_gaussian

# The figure that takes what run_ gave, alone; evidence has a table only, and collapse a figure of its "kl".
PLOTS = {
    "importance": plots.plot_khat,
    "calibration": plots.plot_calibration,
    "coverage": plots.plot_coverage,
    "local_c2st": plots.plot_local_c2st,
    "posterior_calibration": plots.plot_calibration,
    "density_ratio": plots.plot_density_ratio,
    "predictive": plots.plot_predictive,
    "gaps": plots.plot_gaps,
    "reference": plots.plot_reference,
}
WITHOUT_FIGURE = {"evidence", "global_importance"}
OF_A_VARIABLE = {"collapse"}


@pytest.fixture(scope="module")
def diagnosis():
    lg = linear_gaussian(guide="mean-field", latent_dim=2)
    on_demand = [name for name, topic in TOPICS.items() if topic.on_demand]
    found = diagnose(lg, draw_data(lg, 60), effort=SMALL, topics=["usual", *on_demand])
    # What only models with global sites are asked.
    of_global = [name for name, topic in TOPICS.items() if topic.of_global]
    findings = diagnose(plain_pair(parameters()), X, effort=SMALL, topics=of_global).findings
    return dataclasses.replace(found, findings={**found.findings, **findings})


def test_every_topic_stands_in_the_table_of_plots():
    assert set(TOPICS) == set(PLOTS) | WITHOUT_FIGURE | OF_A_VARIABLE
    assert {name for name, topic in TOPICS.items() if topic.figures is None} == WITHOUT_FIGURE


@pytest.mark.slow
@pytest.mark.parametrize("name", TOPICS)
def test_run_gives_a_dataset_whose_numbers_are_described(name, diagnosis):
    numbers = diagnosis.findings[name].numbers
    assert isinstance(numbers, xr.Dataset), diagnosis.findings[name].verdicts
    assert numbers.data_vars


@pytest.mark.slow
@pytest.mark.parametrize("name", TOPICS)
def test_check_takes_what_run_gave_and_gives_verdicts(name, diagnosis):
    verdicts = TOPICS[name].verdicts(diagnosis.numbers[name])
    assert verdicts
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    # By their words: where a figure is NaN, equality is not to be had.
    assert repr(verdicts) == repr(diagnosis.findings[name].verdicts)


@pytest.mark.parametrize("name", TOPICS)
def test_check_refuses_the_numbers_of_another_topic(name):
    with pytest.raises(DataError):
        TOPICS[name].verdicts(xr.Dataset({"other": ("datum", [1.0])}))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_plot_takes_what_run_gave(name, diagnosis):
    assert isinstance(PLOTS[name](diagnosis.numbers[name]), matplotlib.figure.Figure)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, topic in TOPICS.items() if topic.figures is not None])
def test_every_figure_has_a_caption_of_whole_sentences(name, diagnosis):
    drawn = list(TOPICS[name].figures(diagnosis.numbers[name], diagnosis))
    assert drawn
    for figure, caption in drawn:
        assert isinstance(figure, matplotlib.figure.Figure)
        assert caption.endswith(".")


@pytest.mark.parametrize("name", [name for name, topic in TOPICS.items() if topic.table is not None])
def test_every_row_of_a_table_has_a_cell_for_every_column(name, diagnosis):
    table = TOPICS[name].table(diagnosis.numbers[name], diagnosis)
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_asks_a_question_and_answers_in_sentences(name):
    explained = dataclasses.asdict(TOPICS[name].explanation)
    assert explained.pop("question").endswith("?")
    assert all(words.endswith(".") for words in explained.values())


@pytest.mark.parametrize("name", TOPICS)
def test_run_and_check_are_public(name):
    assert {f"run_{name}", f"check_{name}"} <= set(diagnostics.__all__)
