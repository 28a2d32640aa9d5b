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
