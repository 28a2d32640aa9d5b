"""A configuration is what a constructor was given, of every part and pair: for saving, loading and the repr."""

import copy
import inspect
import json

import numpy as np
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import models
from ppl_vae.models.configuration import Configured, from_spec, own_config, plain, remembers
from ppl_vae.models.likelihoods.likelihoods import LIKELIHOODS
from ppl_vae.models.posteriors.posteriors import POSTERIORS
from ppl_vae.models.priors.priors import PRIORS
from ppl_vae.models.stored.load import KINDS
from ppl_vae.models.vector_quantised.code_prior import CODE_PRIORS
from tests.models import program_table

TABLES = {"prior": PRIORS, "posterior": POSTERIORS, "likelihood": LIKELIHOODS, "code prior": CODE_PRIORS}
NEEDED = {
    "missing-pixels": {"of": "gaussian"},
    "columns": {"kinds": [["age", {"name": "gaussian", "sigma": "learned", "initial_sigma": 1.0}]]},
}


def _parts():
    return [(kind, name) for kind, table in TABLES.items() for name in table]


def _arguments(constructor):
    """What it takes by name; a part without a constructor shows Module's *args and **kwargs."""
    given = inspect.signature(constructor).parameters.values()
    return {each.name for each in given if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)} - {
        "self",
        "seed",
    }


@pytest.mark.parametrize(("kind", "name"), _parts())
def test_a_part_is_its_name_and_the_arguments_of_its_constructor(kind, name):
    table = TABLES[kind]
    part = from_spec(kind, {"name": name, **NEEDED.get(name, {})}, table)
    config = own_config(part, table)
    assert set(config) == {"name"} | _arguments(table[name])
    again = from_spec(kind, json.loads(json.dumps(config)), table)
    assert type(again) is type(part)
    assert own_config(again, table) == config
    assert again.extra_repr() == part.extra_repr()


@pytest.mark.parametrize("program", program_table.PROGRAMS, ids=str)
def test_a_pair_is_its_kind_and_the_arguments_of_its_constructor(program):
    pair = program.pair()
    assert set(pair.config) == {"model"} | _arguments(type(pair))
    assert KINDS[pair.config["model"]] is type(pair)
    assert copy.deepcopy(pair).config == pair.config
    json.dumps(pair.config)


def test_numbers_of_other_libraries_are_stored_as_plain_ones():
    vae = pv.VAE(
        (np.int64(4),), np.int32(2), likelihood={"name": "gaussian", "sigma": np.float32(0.5)},
        prior={"name": "mixture", "num_components": np.int64(3)},
    )  # fmt: skip
    assert json.loads(json.dumps(vae.config)) == {
        "model": "vae",
        "event_shape": [4],
        "latent_dim": 2,
        "network": {"name": "mlp", "hidden": [400], "activation": "softplus"},
        "likelihood": {"name": "gaussian", "sigma": 0.5, "initial_sigma": 1.0},
        "prior": {"name": "mixture", "num_components": 3},
        "posterior": {"name": "diagonal", "scale": "log-variance"},
    }


def test_a_models_repr_says_with_what_it_was_made():
    told = repr(pv.VAE((4,), 2, likelihood={"name": "student-t", "df": 3.0}))
    assert "event_shape=[4], latent_dim=2" in told
    assert "df=3.0, sigma='learned', initial_sigma=1.0" in told
    assert "DiagonalPosterior(\n      scale='log-variance'" in told


def test_a_subclass_of_a_pair_is_stored_as_what_it_inherits_from(tmp_path):
    class Small(pv.VAE):
        def __init__(self, size):
            super().__init__((size,), 2, network="linear")

    small = Small(3)
    small.save(tmp_path)
    loaded = pv.load(tmp_path)
    assert type(loaded) is pv.VAE
    assert torch.equal(loaded.model.decoder.weight, small.model.decoder.weight)


def test_a_constructor_of_the_users_own_remembers_if_it_is_told_to():
    class Shifted(Configured):
        name = "shifted"

        @remembers
        def __init__(self, by, network=None, seed=0):
            super().__init__()

    part = Shifted(by=(1, 2.0), network=nn.Linear(1, 1))
    assert part.config == {"name": "shifted", "by": [1, 2.0], "network": None}
    assert part.extra_repr() == "by=[1, 2.0]"
    assert list(part.state_dict()) == []
    # With a part of the user's own inside, no configuration makes it again.
    assert own_config(part, {"shifted": Shifted}) is None
    assert own_config(Shifted(by=1, network="mlp"), {"shifted": Shifted})["by"] == 1


def test_a_missing_argument_is_named_as_python_names_it():
    with pytest.raises(TypeError, match=r"VAE.__init__\(\) missing 1 required positional argument: 'latent_dim'"):
        pv.VAE((4,))


def test_the_linear_gaussian_model_is_described_by_its_sizes_and_guide():
    """Its arguments are weights, which stand in weights.safetensors."""
    model = models.LinearGaussianVAE(torch.ones(3, 2).double(), torch.zeros(3), 1.0, guide="exact")
    expected = {"event_shape": [3], "latent_dim": 2, "dtype": "float64", "guide": "exact"}
    assert model.config == {"model": "linear-gaussian", **expected}


def test_a_model_fitted_with_another_prior_remembers_that_one():
    vae = pv.VAE((4,), 2, network="linear")
    twin = models.with_post_hoc_prior(vae, torch.rand(20, 4).round(), num_components=2)
    assert twin.config["prior"] == {"name": "mixture", "num_components": 2}
    assert vae.config["prior"] == {"name": "standard"}


def test_what_json_cannot_hold_is_no_plain_value():
    assert plain(nn.Linear(1, 1)) is None
    assert plain({"a": np.int64(1), "b": (True, "x")}) == {"a": 1, "b": [True, "x"]}
