"""After a failed fit nothing is called good: every verdict refuses numbers that are none, and names them."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae import inference as inf
from ppl_vae.diagnostics.latent_space.latent_holes import LatentHoles
from ppl_vae.errors import ConvergenceError, DataError, PplVaeError
from ppl_vae.inference.laboratory.ranking import Ranking
from tests.diagnostics.small_effort import SMALL
from tests.inference.comparisons import made_table
from tests.plots.test_attribute_changes import made_changes

# The topics of a diagnosis whose numbers a check_ judges.
TOPIC_OF = {
    f"check_{topic}": topic
    for topic in (
        "importance",
        "evidence",
        "calibration",
        "coverage",
        "collapse",
        "predictive",
        "gaps",
        "reference",
    )
}
# What may be NaN by design, and is then in no verdict: where a model has no such number, or a datum no such weight.
MAY_BE_NAN = {
    "check_importance": {"khat"},
    "check_evidence": {"annealed", "annealed_stderr"},
    "check_calibration": {"correlation"},
    "check_collapse": {
        "kl", "kl_stderr", "collapsed_share", "site_kl", "site_kl_stderr", "average_kl", "average_kl_stderr",
        "mutual_information", "marginal_kl", "marginal_kl_stderr",
    },
    "check_predictive": {"datum_p_value"},
    # An error that is not known makes the verdict on its own gap "unknown" (test_gaps), and not those beside it.
    "check_gaps": {"mean_approximation_gap_stderr", "mean_amortisation_gap_stderr", "generalisation_gap_stderr"},
    # What a verdict does not stand on.
    "check_aggregate": {"kl", "average_kl_stderr", "mutual_information_stderr"},
    "check_bracket": {"x", "lower_stderr", "upper_stderr"},
    "check_global_importance": {"khat", "khat_stderr", "local_noise"},
    "check_estimators": {"bias_evidence", "bias_evidence_stderr", "snr", "value_variance"},
}  # fmt: skip


def made_global():
    """What ``run_global_importance`` gives of a good guide."""
    one = dict.fromkeys(("max_weight_share", "log_evidence", "elbo", "elbo_stderr", "log_evidence_stderr"), 0.1)
    one |= {"khat": 0.1, "khat_stderr": 0.05, "exact": False, "ess": 900.0, "local_noise": 0.01}
    attributes = {"threshold": 0.67, "weights": "pseudo-marginal", "num_data": 9, "num_local": 2, "num_global": 40}
    return xr.Dataset({**one, "log_weight": ("global_draw", np.zeros(40))}, attrs=attributes)


@pytest.fixture(scope="module")
def numbers():
    """What every check_ judges, of a model whose guide is exact."""
    oracle = pv.LinearGaussianVAE(torch.tensor([[1.0, 0.2], [0.3, 1.0]]), torch.zeros(2), 1.0, guide="exact")
    torch.manual_seed(0)
    x, train = oracle.sample(30, True), oracle.sample(30, True)
    by_topic = pv.diagnose(oracle, x, train, effort=SMALL, progress=False).numbers
    levels = np.random.default_rng(0).integers(0, 3, size=(200, 2))
    # Chains that have not settled are left out, and here none would be left.
    by_topic["reference"] = by_topic["reference"].assign(
        rhat=by_topic["reference"]["rhat"] * 0 + 1, ess=by_topic["reference"]["ess"] * 0 + 1000
    )
    return {check: by_topic[topic] for check, topic in TOPIC_OF.items()} | {
        "check_aggregate": diagnostics.run_aggregate(pv.VAE((2,), 2, likelihood="gaussian", seed=0), x),
        "check_arithmetic": made_changes(),
        "check_bracket": inf.bidirectional_evidence(oracle, x[:4], 2, num_temperatures=5, num_leapfrog=2),
        "check_class_structure": diagnostics.run_class_structure(
            {"codes": np.random.default_rng(2).normal(size=(60, 2))}, np.arange(60) % 3, num_shuffles=2
        ),
        "check_density_ratio": diagnostics.run_density_ratio(
            oracle, torch.randn(60, 2, generator=torch.Generator().manual_seed(0)), 2
        ),
        "check_disentanglement": diagnostics.score_codes(
            levels + 0.01 * np.random.default_rng(1).normal(size=(200, 2)), levels, metrics=("mig", "modularity")
        ),
        "check_estimators": made_table(),
        "check_foreign": diagnostics.run_foreign(oracle, x, {"far": x + 3}, num_samples=20),
        "check_global_importance": made_global(),
        "check_interpolation": diagnostics.run_interpolation(
            oracle, torch.lerp(x[:4], x[4:8], torch.linspace(0, 1, 3)[:, None, None]), x[:4], x[4:8], 20
        ),
        "check_latent_holes": LatentHoles(*(torch.rand(50, generator=torch.manual_seed(i)) for i in range(4))),
        "check_local_c2st": diagnostics.run_local_c2st(oracle, x[:4], 60, 19),
        "check_posterior_calibration": diagnostics.run_posterior_calibration(oracle, x[:4], 50, 200),
        "check_recovery": diagnostics.run_recovery(oracle, (2,), 50, 19),
        "check_typicality": diagnostics.run_typicality(oracle, x, 40, 25),
    }


def checks():
    public = {name: room for room in (diagnostics, inf) for name in room.__all__}
    return {name: getattr(room, name) for name, room in public.items() if name.startswith("check_")}


def parts(given):
    """The names of the floats in what a check_ is given."""
    if isinstance(given, xr.Dataset):
        return [str(name) for name in given.data_vars if given[name].dtype.kind == "f"]
    return [
        field.name for field in dataclasses.fields(given) if isinstance(getattr(given, field.name), torch.Tensor)
    ]


def poisoned(given, name, value):
    """A copy with one entry that is no number; None where there is no number."""
    if isinstance(given, xr.Dataset):
        values = given[name].to_numpy().copy()
        finite = np.flatnonzero(np.isfinite(values))
        if not len(finite):
            return None
        # The first of what has runs or representations is the one that is judged.
        values.flat[finite[0]] = value
        return given.assign({name: (given[name].dims, values)})
    values = getattr(given, name).clone()
    values.view(-1)[-1] = value
    return dataclasses.replace(given, **{name: values})


def outcome(check, given):
    """The words of a refusal, and the levels of the verdicts."""
    try:
        found = check(given)
    except DataError as error:
        return str(error), []
    if isinstance(found, Ranking):
        return "", ["good"]
    return "", [verdict.level for verdict in (found if isinstance(found, list) else [found])]


def test_the_table_holds_every_check(numbers):
    assert set(numbers) == set(checks())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", checks())
def test_no_verdict_on_what_is_no_number(numbers, name, value):
    """Its name is told, or nothing is called good; at least one number of every verdict is refused by its name."""
    check, refused = checks()[name], 0
    for part in parts(numbers[name]):
        given = poisoned(numbers[name], part, value)
        if given is None:
            continue
        refusal, levels = outcome(check, given)
        if refusal:
            assert repr(part) in refusal
            refused += 1
        else:
            assert "good" not in levels or part in MAY_BE_NAN.get(name, ()), part
            assert name != "check_estimators" or part in MAY_BE_NAN.get(name, ()), part
    assert refused


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


@pytest.mark.slow
def test_a_diagnosis_of_a_broken_model_calls_nothing_good(broken):
    x = torch.randn(20, 4)
    diagnosis = pv.diagnose(broken, x, torch.randn(20, 4), effort=SMALL, progress=False)
    for verdict in diagnosis.verdicts:
        of_encoder = verdict.diagnostic == "Active units"
        assert verdict.level != "good" or of_encoder, verdict
