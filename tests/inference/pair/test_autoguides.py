"""Pyro's autoguides on data of another length than their first: one line with the cause and the remedy."""

from functools import partial

import pyro
import pytest
import torch
from pyro.infer import autoguide

import ppl_vae as pv
from ppl_vae.errors import ModelError
from tests.inference.pair.two_level_programs import X, encoder, population


@pytest.fixture(autouse=True)
def _no_parameters_left():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def list_beside(local, **options):
    guides = autoguide.AutoGuideList(population, **options)
    guides.append(autoguide.AutoNormal(pyro.poutine.block(population, expose=["mean", "spread"])))
    guides.append(local)
    return guides


def data_plate(x):
    return pyro.plate("data", len(x))


def fitted(guide):
    """In batches of 5, 5 and 2 data."""
    return pv.fit(
        (population, guide), X, "monte-carlo-kl", epochs=1, batch_size=5, lr=1e-12, device="cpu", progress=False,
        compile=False,
    )  # fmt: skip


def test_a_list_that_makes_its_plates_anew_takes_batches():
    guide = list_beside(partial(encoder, plate="rows"), create_plates=data_plate)
    assert fitted(guide).history["train_elbo"].notna().all()


def test_a_list_that_remembers_its_plates_says_how_they_are_made_anew():
    remedy = r"AutoGuideList\(model, create_plates=lambda x: pyro.plate\('data', len\(x\)\)\)"
    for first in ((), (X,)):
        guide = list_beside(partial(encoder, plate="rows"))
        for x in first:
            guide(x)
        with pytest.raises(
            ModelError, match=f"AutoGuideList was first called with .* data and now meets .*{remedy}"
        ):
            fitted(guide)
        pyro.clear_param_store()


def test_a_plate_that_a_list_makes_already_needs_another_name():
    with pytest.raises(ModelError, match="'data': AutoGuideList makes the model's plates itself"):
        fitted(list_beside(encoder))


@pytest.mark.parametrize("kind", [autoguide.AutoNormal, autoguide.AutoDiagonalNormal, autoguide.AutoStructured])
def test_parameters_for_the_latents_of_each_datum_take_all_data_at_once(kind):
    with pytest.raises(ModelError, match="has parameters for the latents of each of them: take all data at once"):
        fitted(kind(population))


def test_what_another_guide_has_left_in_the_store_is_named():
    autoguide.AutoNormal(population)(X[:5])
    with pytest.raises(ModelError, match=r"param 'AutoNormal.locs.z' \[5\] is of other data than the 12 at hand"):
        pv.evaluate((population, autoguide.AutoNormal(population)), X)


def test_one_name_at_two_places_is_one_line():
    def twice(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("z", pyro.distributions.Normal(torch.zeros(len(x)), 1.0))

    with pytest.raises(ModelError, match=r"^Multiple sample sites named 'z'; every site .* of its own$"):
        pv.evaluate((population, twice), X)
