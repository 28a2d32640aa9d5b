"""All diagnostics in one run: what becomes of a good pair, of one that cannot be diagnosed, and of lost time."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics import diagnose
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.errors import DataError, ModelError
from tests.diagnostics.small_effort import CHEAP, SMALL
from tests.scenarios import draw_data, linear_gaussian


@pytest.fixture(scope="module")
def exact():
    """A linear-Gaussian model whose guide is the posterior."""
    lg = linear_gaussian(guide="exact", latent_dim=2)
    x, told = draw_data(lg, 50), []
    labels = np.arange(50) % 3
    return x, told, diagnose(lg, x, draw_data(lg, 50, seed=5), labels, effort=SMALL, on_topic=told.append)


def test_every_topic_comes_to_a_verdict(exact):
    _, told, diagnosis = exact
    usual = {name: topic for name, topic in TOPICS.items() if not (topic.of_global or topic.on_demand)}
    assert list(diagnosis.findings) == list(usual)
    assert told == [topic.title for topic in usual.values()]
    for name, finding in diagnosis.findings.items():
        assert finding.numbers is not None, (name, finding.verdicts)
        assert finding.verdicts
    assert len(diagnosis.verdicts) == sum(len(f.verdicts) for f in diagnosis.findings.values())


def test_the_exact_posterior_has_no_fault(exact):
    *_, diagnosis = exact
    levels = {verdict.diagnostic: verdict.level for verdict in diagnosis.verdicts}
    assert "bad" not in levels.values()
    assert levels["Pareto k-hat"] == "good"
    assert levels["Approximation gap"] == levels["Amortisation gap"] == "good"


def test_the_subset_is_random_and_known(exact):
    x, _, diagnosis = exact
    assert len(set(diagnosis.chosen)) == 30
    assert list(diagnosis.chosen) != sorted(diagnosis.chosen)
    assert torch.equal(diagnosis.x, x[diagnosis.chosen])
    assert list(diagnosis.y) == list(diagnosis.chosen % 3)


def test_the_table_has_a_row_a_verdict(exact):
    *_, diagnosis = exact
    table = diagnosis.table()
    assert list(table["diagnostic"]) == [verdict.diagnostic for verdict in diagnosis.verdicts]
    assert str(diagnosis).count("\n") == len(table) - 1


def test_every_datum_of_the_reference_is_there(exact):
    *_, diagnosis = exact
    numbers = diagnosis.findings["reference"].numbers
    assert list(numbers["datum"].to_numpy()) == [0, 1]
    assert numbers["c2st"].dims == ("datum",)


@pytest.mark.slow
def test_one_seed_gives_one_result_and_leaves_the_generators():
    lg = linear_gaussian(latent_dim=2)
    x, before = draw_data(lg, 40), torch.get_rng_state()
    first, again = (diagnose(lg, x, effort=SMALL, topics=CHEAP, seed=4) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for name in CHEAP:
        assert first.findings[name].numbers.equals(again.findings[name].numbers)


@pytest.mark.slow
def test_what_cannot_be_run_is_a_line_that_says_why():
    grey = pv.load_dataset("digits").test.x[:20]
    vae = pv.VAE((1, 8, 8), 2, network={"name": "mlp", "hidden": [8]}, likelihood="bernoulli-relaxed", seed=0)
    diagnosis = diagnose(vae, grey, effort=SMALL, topics=CHEAP)
    for name in ("calibration", "predictive"):
        finding = diagnosis.findings[name]
        assert finding.numbers is None
        (verdict,) = finding.verdicts
        assert verdict.level == "unknown"
        assert "expected data that the model can draw" in verdict.words
    assert diagnosis.findings["importance"].numbers is not None


def test_lost_time_is_told(monkeypatch):
    lg = linear_gaussian(latent_dim=2)
    told = []
    diagnosis = diagnose(lg, draw_data(lg, 20), effort=SMALL, topics=CHEAP, seconds=1e-9, on_topic=told.append)
    assert told == []
    assert all("the 1e-09 s are up" in verdict.words for verdict in diagnosis.verdicts)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"topics": ["khats"]}, DataError, "unknown diagnostic 'khats'"),
        ({"seconds": 0}, ModelError, "seconds must be positive"),
        ({"effort": "quick"}, ModelError, "effort must be an Effort, such as pv.diagnostics.QUICK, got 'quick'"),
        ({"y": [1]}, DataError, r"y: expected a label per datum, shape \[20\], found \[1\]"),
        ({"x_train": torch.zeros(3, 4, 4)}, ModelError, "site 'x'"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(arguments, error, message):
    lg = linear_gaussian(latent_dim=2)
    told = []
    with pytest.raises(error, match=message):
        diagnose(lg, draw_data(lg, 20), on_topic=told.append, **{"effort": SMALL, **arguments})
    assert told == []


@pytest.mark.slow
def test_one_topic_needs_no_list():
    lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    assert list(pv.diagnose(lg, torch.randn(20, 3), topics="importance").numbers) == ["importance"]
