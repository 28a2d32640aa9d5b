"""One root, standard kinds beside it, and names that lead to the nearest known one."""

import inspect

import pytest

from ppl_vae import errors
from ppl_vae.errors import PplVaeError, unknown_name

KINDS = {
    "DataError": ValueError,
    "ModelError": ValueError,
    "ConvergenceError": ArithmeticError,
    "CheckpointError": OSError,
    "RankError": RuntimeError,
}


def test_every_error_of_the_package_has_the_one_root_and_a_standard_kind():
    own = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert own.keys() == {"PplVaeError", *KINDS}
    for name, standard in KINDS.items():
        assert issubclass(own[name], PplVaeError)
        assert issubclass(own[name], standard)


@pytest.mark.parametrize("name", KINDS)
def test_the_message_is_what_is_printed(name):
    assert str(getattr(errors, name)("one sentence")) == "one sentence"


@pytest.mark.parametrize(
    ("name", "near"),
    [("mnits", "mnist"), ("Digits", "digits"), ("fashion", "fashion-mnist"), ("sprite", "sprites")],
)
def test_a_slip_of_the_pen_finds_its_name(name, near):
    assert f"unknown data set {name!r}; did you mean {near!r}?" in unknown_name(
        "data set", name, ["digits", "mnist", "fashion-mnist", "sprites"]
    )


@pytest.mark.parametrize("name", ["zzz", 7, None])
def test_what_is_near_to_nothing_gets_the_list_alone(name):
    assert unknown_name("estimator", name, ["iwae", "dreg"]) == f"unknown estimator {name!r}. Known: dreg, iwae"
