"""After a failed fit nothing is called good: every verdict refuses numbers that are none, and names them."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae import inference as inf
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.errors import ConvergenceError, DataError, PplVaeError
from tests.diagnostics.small_effort import SMALL
from tests.inference.comparisons import made_table
from tests.plots.test_attribute_changes import made_changes

# What may be NaN by design, and is then in no verdict: where a model has no such number, or a datum no such weight.
MAY_BE_NAN = {
    "importance": {"khat"},
    "evidence": {"annealed", "annealed_stderr"},
    "calibration": {"correlation"},
    "collapse": {
        "kl", "kl_stderr", "collapsed_share", "site_kl", "site_kl_stderr", "average_kl", "average_kl_stderr",
        "mutual_information", "marginal_kl", "marginal_kl_stderr",
    },
    "predictive": {"datum_p_value"},
    # An error that is not known makes the verdict on its own gap "unknown" (test_gaps), and not those beside it.
    "gaps": {"mean_approximation_gap_stderr", "mean_amortisation_gap_stderr", "generalisation_gap_stderr"},
}  # fmt: skip


@pytest.fixture(scope="module")
def numbers():
    oracle = pv.LinearGaussianVAE(torch.tensor([[1.0, 0.2], [0.3, 1.0]]), torch.zeros(2), 1.0, guide="exact")
    torch.manual_seed(0)
    x, train = oracle.sample(30, True), oracle.sample(30, True)
    return pv.diagnose(oracle, x, train, effort=SMALL, progress=False).numbers


def poisoned(table, variable, value):
    """A copy with one entry that is no number."""
    values = table[variable].to_numpy().copy()
    values.flat[np.flatnonzero(np.isfinite(values))[-1]] = value
    return table.assign({variable: (table[variable].dims, values)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("topic", TOPICS)
def test_no_number_of_a_table_may_be_none(numbers, topic, value):
    """The verdict names the number; or it is one that may be missing; or the level is "unknown"."""
    table = numbers[topic]
    for variable in table.data_vars:
        if table[variable].dtype.kind != "f" or not np.isfinite(table[variable]).any():
            continue
        refusal, levels = outcome(topic, poisoned(table, variable, value))
        if refusal:
            assert repr(str(variable)) in refusal
        else:
            assert "good" not in levels or variable in MAY_BE_NAN.get(topic, ()), variable


def outcome(topic, table):
    """The words of a refusal, or the levels of the verdicts."""
    try:
        return "", [verdict.level for verdict in TOPICS[topic].verdicts(table)]
    except DataError as error:
        return str(error), []


def test_the_verdicts_on_attributes_and_estimators_refuse_too():
    changes = made_changes()
    changes["changed"].values[0, 1] = np.nan
    with pytest.raises(DataError, match="'changed'"):
        diagnostics.check_arithmetic(changes)
    for name in ("value", "gradient_variance", "cost", "bias_elbo"):
        with pytest.raises(DataError, match=repr(name)):
            inf.check_estimators(poisoned(made_table(), name, np.nan))


@pytest.fixture(scope="module")
def broken():
    """A VAE whose decoder has a weight that is no number, as after steps that were too long."""
    vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian", network={"name": "mlp", "hidden": (8,)}, seed=0)
    with torch.no_grad():
        next(vae.model.decoder.parameters()).fill_(torch.nan)
    return vae


def test_evaluate_and_evidence_refuse_a_broken_model(broken):
    x = torch.randn(6, 4)
    with pytest.raises(ConvergenceError, match=r"datum 0: log p\(x\|z\) is NaN or infinite, as on 6 of 6 data"):
        pv.evaluate(broken, x)
    with pytest.raises(PplVaeError, match="NaN"):
        pv.log_evidence(broken, x, num_samples=10)


def test_a_diagnosis_of_a_broken_model_calls_nothing_good(broken):
    x = torch.randn(20, 4)
    diagnosis = pv.diagnose(broken, x, torch.randn(20, 4), effort=SMALL, progress=False)
    for verdict in diagnosis.verdicts:
        of_encoder = verdict.diagnostic == "Active units"
        assert verdict.level != "good" or of_encoder, verdict
