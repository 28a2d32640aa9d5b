"""Old names of arguments: taken with a warning, for one release."""

import inspect

import pytest
import torch

import ppl_vae as pv
from ppl_vae.renamed import renamed

CALLS = {
    "sample": (lambda vae, **number: vae.sample(**number), "n", "num_samples"),
    "cyclical": (lambda _, **steps: pv.make("cyclical-vae", (4,), **steps).elbo, "steps", "num_steps"),
    "ladder": (lambda _, **steps: pv.make("ladder-vae", (4,), **steps).elbo, "steps", "num_steps"),
    "markov": (lambda _, **steps: pv.make("deep-markov-model", (3, 4), **steps).elbo, "steps", "num_steps"),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_old_name_means_the_new_one_and_warns(name):
    call, old, new = CALLS[name]
    vae = pv.VAE((4,), 2, network="linear")
    torch.manual_seed(0)
    now = call(vae, **{new: 3})
    torch.manual_seed(0)
    with pytest.warns(DeprecationWarning, match=rf"the argument '{old}' is called '{new}' now"):
        before = call(vae, **{old: 3})
    assert torch.equal(now, before) if isinstance(now, torch.Tensor) else repr(now) == repr(before)


CHECKS = [name for name in pv.diagnostics.__all__ if name.startswith("check_") and name != "check_bracket"]


@pytest.mark.parametrize(
    "check", [*(getattr(pv.diagnostics, name) for name in CHECKS), pv.inference.check_estimators]
)
def test_what_is_judged_is_called_numbers(check):
    """By any check, and first; what a bracket's check takes is no table of numbers."""
    assert next(iter(inspect.signature(check).parameters)) == "numbers"


def test_the_short_names_of_the_plan_stay_without_a_warning():
    vae, x = pv.VAE((4,), 2, network="linear", likelihood="gaussian"), torch.rand(3, 4)
    assert torch.equal(vae.interpolate(x, x, steps=3), vae.interpolate(x, x, num_steps=3))
    tables = [
        pv.compare_estimators(vae, x, ["analytic-kl"], **number) for number in ({"repeats": 4}, {"num_repeats": 4})
    ]
    assert tables[0]["gradient_variance"].equals(tables[1]["gradient_variance"])
    with pytest.raises(TypeError, match="got 'num_steps' and its other name 'steps'"):
        vae.interpolate(x, x, steps=3, num_steps=3)


def test_the_warning_names_the_line_of_the_caller():
    with pytest.warns(DeprecationWarning, match="called") as told:
        pv.VAE((4,), 2, network="linear").sample(n=1)
    assert told[0].filename == __file__


def test_only_the_new_name_is_shown_and_both_at_once_are_refused():
    @renamed(steps="num_steps")
    def walk(num_steps):
        return num_steps

    assert list(inspect.signature(walk).parameters) == ["num_steps"]
    assert walk(2) == walk(num_steps=2) == 2
    with (
        pytest.warns(DeprecationWarning, match="called"),
        pytest.raises(TypeError, match="got 'num_steps' and its old name 'steps'"),
    ):
        walk(num_steps=1, steps=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stride'"):
        walk(stride=1)


PACKAGES = (pv, pv.inference, pv.models, pv.diagnostics, pv.data, pv.compression)
PUBLIC = {name: getattr(package, name) for package in PACKAGES for name in package.__all__}


def _takes_a_seed(thing):
    is_result = hasattr(thing, "__dataclass_fields__") or (isinstance(thing, type) and issubclass(thing, Exception))
    return callable(thing) and not is_result and "seed" in inspect.signature(thing).parameters


SEEDED = {name: thing for name, thing in PUBLIC.items() if _takes_a_seed(thing)}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_is_given_by_keyword_and_is_the_last(name):
    parameters = inspect.signature(SEEDED[name]).parameters
    assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    assert [kept.name for kept in parameters.values() if kept.kind is not kept.VAR_KEYWORD][-1] == "seed"


def test_a_seed_by_position_means_the_same_and_warns_at_the_callers_line():
    vae, x = pv.VAE((4,), 2, network="linear"), torch.zeros(3, 4)
    with pytest.warns(DeprecationWarning, match="evaluate: the argument 'seed' is given by keyword now") as told:
        before = pv.evaluate(vae, x, 2, 7)
    assert told[0].filename == __file__
    assert torch.equal(before.elbo, pv.evaluate(vae, x, 2, seed=7).elbo)
    with (
        pytest.warns(DeprecationWarning, match="by keyword"),
        pytest.raises(TypeError, match="multiple values for argument 'seed'"),
    ):
        pv.evaluate(vae, x, 2, 7, seed=7)
    with pytest.raises(TypeError, match="positional arguments"):
        pv.evaluate(vae, x, 2, 7, None, None, None)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (pv.diagnostics.run_gaps, "steps", "num_steps"),
        (pv.diagnostics.run_reference, "warmup", "num_warmup"),
        (pv.compare_recipes, "evidence_draws", "num_samples"),
        (pv.infer, "draws", "num_draws"),
        (pv.diagnostics.run_calibration, "num_draws", "num_samples"),
        (pv.diagnostics.run_coverage, "num_draws", "num_samples"),
        (pv.diagnostics.run_recovery, "num_draws", "num_samples"),
        (pv.diagnostics.simulate_posteriors, "num_draws", "num_samples"),
        (pv.diagnostics.run_predictive, "num_draws", "num_samples"),
        (pv.plots.plot_gaps, "table", "numbers"),
        (pv.plots.plot_khat, "ds", "numbers"),
    ],
)
def test_the_old_name_is_still_taken(function, old, new):
    """Both names at once are refused before anything is computed, which shows that the old one is known."""
    assert new in inspect.signature(function).parameters
    assert old not in inspect.signature(function).parameters
    with (
        pytest.warns(DeprecationWarning, match=f"'{old}' is called '{new}' now"),
        pytest.raises(TypeError, match="old"),
    ):
        function(**{old: 1, new: 1})
