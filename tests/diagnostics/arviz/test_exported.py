"""Sites of any name, and what pyro.deterministic and pyro.factor make, in ArviZ's groups and in a file."""

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics.arviz import container as inference_data
from ppl_vae.diagnostics.arviz.exported import exported_names, plain_attributes
from ppl_vae.errors import ModelError
from tests.diagnostics.arviz.generations import both_generations


def pair_of(site, observed="x", extra=lambda z: None):
    """z ~ N(0, 1) in two dimensions, x | z ~ N(z1 + z2, 1) thrice; ``extra`` at the end of the model."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(site, dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = z.sum(-1, keepdim=True).expand(*z.shape[:-1], 3)
            pyro.sample(observed, dist.Normal(loc, 1.0).to_event(1), obs=x)
            extra(z)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(site, dist.Normal(0.2 * x[:, :1].expand(-1, 2), 0.8).to_event(1))

    return model, guide


X = torch.linspace(-1, 1, 15).reshape(5, 3)


@pytest.mark.parametrize("site", ["z", "latent", "pixel", "latent_dim", "log_weight", "khat", "sample"])
def test_a_site_of_any_name_has_a_posterior_and_a_prior(site):
    idata = pv.inference_data(pair_of(site), X, num_samples=30, num_predictive=4)
    groups = inference_data.groups_of(idata)
    for group, draws in (("posterior", 30), ("prior", 4)):
        assert groups[group][site].shape == (1, draws, 5, 2)
        assert groups[group][site].dims[:3] == ("chain", "draw", "datum")
    assert groups["posterior"][site].dims[3] == ("latent_dim" if site == "latent" else "latent")


@pytest.mark.parametrize("observed", ["pixel", "latent"])
def test_an_observed_site_of_any_name_is_kept(observed):
    groups = inference_data.groups_of(
        pv.inference_data(pair_of("z", observed), X, num_samples=30, num_predictive=4)
    )
    np.testing.assert_allclose(groups["observed_data"][observed], X)
    assert groups["posterior_predictive"][observed].shape == (1, 4, 5, 3)


@pytest.mark.parametrize("site", ["chain", "draw", "datum", "label"])
def test_names_of_arvizs_own_dimensions_are_refused(site):
    with pytest.raises(ModelError, match=f"site '{site}': that is the name of a dimension"):
        pv.inference_data(pair_of(site), X, num_samples=30)
    with pytest.raises(ModelError, match=f"site '{site}'"):
        pv.inference_data(pair_of("z", site), X, num_samples=30)


def test_two_sites_of_one_exported_name_are_refused():
    with pytest.raises(ModelError, match=r"site 'a.z': another site is called 'a.z' already"):
        exported_names(["a/z", "a.z"])


@pytest.mark.slow
@both_generations
@pytest.mark.parametrize("site", ["latent", "scope/z", "a z", "ζ"])
def test_a_file_holds_every_site(site, generation, tmp_path, monkeypatch):
    monkeypatch.setattr(inference_data, "installed", lambda: generation)
    path, name = tmp_path / "draws.nc", site.replace("/", ".")
    idata = pv.inference_data(pair_of(site, "scope/x"), X, num_samples=30, num_predictive=4, data_name="ours")
    inference_data.write_netcdf(idata, path)
    back, there = (inference_data.groups_of(each) for each in (inference_data.read_netcdf(path), idata))
    assert set(back) == set(there)
    for group, table in there.items():
        assert set(back[group].data_vars) == set(table.data_vars)
        for variable, values in table.items():
            np.testing.assert_array_equal(back[group][variable], values)
    assert back["posterior"][name].attrs.get("site", site) == site
    assert inference_data.read_netcdf(path, generation=generation).attrs["data"] == "ours"


@pytest.mark.slow
@both_generations
def test_attributes_that_netcdf_cannot_hold_become_numbers_and_texts(generation, tmp_path):
    groups = {
        "posterior": pv.diagnostics.run_collapse(pair_of("z"), X).assign_attrs(flag=True, one=["z"], none=None)
    }
    data = inference_data.build(groups, {"settled": False, "sites": ["z"]}, generation=generation)
    inference_data.write_netcdf(data, tmp_path / "table.nc", generation=generation)
    back = inference_data.read_netcdf(tmp_path / "table.nc", generation=generation)
    assert (back.attrs["settled"], back.attrs["sites"]) == (0, "z")
    attributes = inference_data.groups_of(back, generation=generation)["posterior"].attrs
    assert (attributes["flag"], attributes["one"], attributes["closed_form"]) == (1, "z", "z")
    assert "none" not in attributes
    assert plain_attributes({"both": ("a", 2)}) == {"both": "a; 2"}


def test_what_deterministic_computes_stands_beside_its_latents():
    def extra(z):
        pyro.deterministic("total", z.sum(-1))
        pyro.deterministic("double", 2 * z)
        pyro.deterministic("constant", torch.tensor(3.0))

    for size in (1, 3, 5):
        idata = pv.inference_data(pair_of("z", extra=extra), X[:size], num_samples=30, num_predictive=4)
        groups = inference_data.groups_of(idata)
        for group in ("posterior", "prior"):
            table = groups[group]
            assert "constant" not in table
            np.testing.assert_allclose(table["total"], table["z"].sum("latent"), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(table["double"], 2 * table["z"].to_numpy())
        assert groups["posterior"]["double"].dims == ("chain", "draw", "datum", "double_dim")


def test_a_factor_is_no_data():
    factor = pair_of("z", extra=lambda z: pyro.factor("penalty", -0.5 * z.square().sum(-1)))
    groups = inference_data.groups_of(pv.inference_data(factor, X, num_samples=30, num_predictive=4))
    assert list(groups["observed_data"]) == list(groups["posterior_predictive"]) == ["x"]
