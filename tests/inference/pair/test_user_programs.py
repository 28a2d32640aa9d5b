"""The law of the table: a user's program gets the right number from every function, or is refused by name.

Right is an exact log p(x), or what stock ``pyro.infer.Trace_ELBO`` says, within 4 standard errors and a floor. No
exception but the package's own leaves a function.
"""

import functools
import math
import re
import warnings

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_global_importance, run_importance
from ppl_vae.errors import PplVaeError
from ppl_vae.inference.compilation import step_choice
from tests.inference.pair.two_level_programs import TWO_LEVELS
from tests.inference.pair.user_programs import EVERYTHING
from tests.inference.pair.user_programs import PROGRAMS as ONE_LEVEL

pytestmark = [
    pytest.mark.usefixtures("one_thread", "_no_parameters_left"),
    pytest.mark.filterwarnings("ignore:.*expected a value, got None"),
]

PROGRAMS = {**ONE_LEVEL, **TWO_LEVELS}
WITH_GLOBAL_SITES = {*TWO_LEVELS, "global latent", "AutoDiagonalNormal"}
K, REPEATS = 50, 10
FLOOR = 1e-4
# What is asked of every row wherever the tests run; the rest of the table takes minutes.
QUICK = ("evaluate", "log_evidence")
QUICK_ROWS = {
    "log_evidence": ("global first", "AutoMultivariateNormal, everything"),
    "fit": ("AutoDiagonalNormal beside an encoder", "groups", "plain", "AutoNormal", "scaled alike", "subsampled",
    "auxiliary", "straight-through"), "compare": ("groups", "modules", "AutoNormal", "scaled alike", "subsampled"),
    "importance": ("global first", "plain", "AutoNormal", "scaled alike", "subsampled", "auxiliary",
    "guide on a part"), "diagnose": ("global first", "plain", "AutoNormal", "factor", "scaled alike", "subsampled",
    "two observed sites"),
}  # fmt: skip


@pytest.fixture
def _no_parameters_left():
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def mean_and_error(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def require_equal(found, expected):
    (value, error), (exact, exact_error) = found, expected
    slack = 4 * math.hypot(error, exact_error) + FLOOR
    assert abs(value - exact) < slack, f"{value:.5f} +- {error:.2g} for {exact:.5f} +- {exact_error:.2g}"


@functools.cache
def stock_elbo(name):
    """Of Trace_ELBO, nats per datum, with its standard error."""
    row = PROGRAMS[name]
    model, guide = (row.plain or row.make)()
    elbo = pyro.infer.Trace_ELBO(num_particles=K, vectorize_particles=True, max_plate_nesting=row.nesting)
    with warnings.catch_warnings():
        # Of plates of other names, auxiliary sites and marks for another estimator.
        warnings.simplefilter("ignore")
        return mean_and_error([-elbo.loss(model, guide, row.x) / len(row.x) for _ in range(REPEATS)])


def exact_evidence(row):
    return row.evidence(row.x).mean().item(), 0.0


def estimator(row, particles=K):
    return inf.get_elbo(row.estimator, num_particles=particles)


# What every function says ---------------------------------------------------------------------------------------


def evaluate(pair, row, name):
    found = [pv.evaluate(pair, row.x, num_particles=K, seed=seed) for seed in range(REPEATS)]
    assert found[0].elbo.shape == (len(row.x),)
    require_equal(mean_and_error([each.elbo.mean() for each in found]), stock_elbo(name))


def log_evidence(pair, row, name):
    found = pv.log_evidence(pair, row.x, num_samples=2000)
    assert found.per_datum.shape == (len(row.x),)
    if row.evidence is not None:
        exact = row.evidence(row.x)
        # The bias of a logarithm of a mean is of the order of the squared error.
        slack = 4 * found.per_datum_stderr + 3 * found.per_datum_stderr.square() + FLOOR
        assert ((found.per_datum - exact).abs() < slack).float().mean() > 0.9
        bias = found.per_datum_stderr.square().mean().item()
        require_equal((found.mean, found.stderr + bias), exact_evidence(row))


def fit(pair, row, name, compile=False, mode="eager"):
    """At a rate of nothing: an epoch's running ELBO is one more estimate of the plain one."""
    result = pv.fit(
        pair, row.x, estimator(row), epochs=REPEATS, lr=1e-12, compile=compile, device="cpu", progress=False
    )
    assert result.manifest["compile"] in (mode, "traced", "eager")
    assert mode != "traced" or result.manifest["compile"] == "traced"
    require_equal(mean_and_error(result.history["train_elbo"].to_numpy(copy=True)), stock_elbo(name))


def compare(pair, row, name):
    table = pv.compare_estimators(pair, row.x, [estimator(row)], num_repeats=REPEATS, progress=False)
    require_equal((table["value"].item(), table["value_stderr"].item()), stock_elbo(name))


def importance(pair, row, name):
    if name in WITH_GLOBAL_SITES:
        # One local draw at each draw of the global sites: the mean of log W is the bound of the set.
        numbers = run_global_importance(pair, row.x, 500, 1)
        require_equal(tuple(float(numbers[n]) / len(row.x) for n in ("elbo", "elbo_stderr")), stock_elbo(name))
        return
    table = run_importance(pair, row.x, num_samples=500)
    error = table["elbo_stderr"].to_numpy()
    require_equal((table["elbo"].mean().item(), math.sqrt((error**2).sum()) / len(error)), stock_elbo(name))


def diagnose(pair, row, name):
    log_weight = pv.inference_data(pair, row.x, num_samples=500).sample_stats["log_weight"]
    if log_weight.dims == ("chain", "draw"):
        # Every draw is one of all data.
        assert log_weight.shape == (1, 500)
        assert name in WITH_GLOBAL_SITES | {"two plates"}
        per_datum = log_weight / len(row.x)
    else:
        assert log_weight.shape == (1, 500, len(row.x))
        per_datum = log_weight.mean("datum")
    require_equal(mean_and_error(per_datum.to_numpy()[0].copy()), stock_elbo(name))


FUNCTIONS = {
    "evaluate": evaluate,
    "log_evidence": log_evidence,
    "fit": fit,
    "compare": compare,
    "importance": importance,
    "diagnose": diagnose,
}


def require_right_or_refused(function, name, **options):
    row = PROGRAMS[name]
    pair = row.make()
    if function in row.refused:
        with pytest.raises(PplVaeError, match=row.refused[function]) as refusal:
            FUNCTIONS[function](pair, row, name, **options)
        assert "\n" not in str(refusal.value)
        return
    FUNCTIONS[function](pair, row, name, **options)


def quick(function, name):
    if name in TWO_LEVELS and function != "evaluate":
        return name in QUICK_ROWS.get(function, ())
    return function in QUICK or name in QUICK_ROWS.get(function, ())


CASES = [(function, name) for name in PROGRAMS for function in EVERYTHING]


def test_the_table_is_long_enough_and_says_why_it_refuses():
    assert len(PROGRAMS) >= 20
    assert all(re.compile(words) for row in PROGRAMS.values() for words in row.refused.values())
    assert all(name in PROGRAMS for names in QUICK_ROWS.values() for name in names)


@pytest.mark.parametrize(("function", "name"), [case for case in CASES if quick(*case)])
def test_a_program_gets_the_right_number_or_a_refusal(function, name):
    require_right_or_refused(function, name)


@pytest.mark.slow
@pytest.mark.parametrize(("function", "name"), [case for case in CASES if not quick(*case)])
def test_every_program_under_every_function(function, name):
    require_right_or_refused(function, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:compile=True")
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_in_compiled_training(name):
    require_right_or_refused("fit", name, compile=True, mode="compiled")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "AutoNormal", "scaled alike", "straight-through", "auxiliary"])
def test_programs_in_traced_training(name, monkeypatch):
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    monkeypatch.setattr(step_choice, "SECONDS_TO_COMPILE", math.inf)
    require_right_or_refused("fit", name, compile="auto", mode="traced")
