"""The forms that ArviZ's figures take, and the warning where it is asked for leave-one-out."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import ppl_vae as pv
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.arviz.container import TREE, groups_of, installed, quiet_import
from ppl_vae.diagnostics.arviz.for_figures import for_plot_ppc
from ppl_vae.errors import ModelError
from tests.diagnostics.arviz.generations import both_generations, needs_tree


@pytest.fixture(scope="module")
def images():
    """Draws for six grey images of 8x8 pixels."""
    ds = pv.load_dataset("digits")
    vae = pv.VAE(ds.event_shape, latent_dim=2, network={"name": "mlp", "hidden": (8,)}, likelihood="gaussian")
    return pv.inference_data(vae, ds.test.x[:6], 100, num_predictive=20)


@both_generations
def test_cells_are_the_numbers_of_the_images_datum_by_datum(images, generation):
    data = container.build(groups_of(images), {}, generation=generation)
    found = container.groups_of(for_plot_ppc(data, generation=generation), generation=generation)
    assert dict(found["posterior_predictive"]["x"].sizes) == {"chain": 1, "draw": 20, "cell": 6 * 64}
    before = groups_of(images)
    np.testing.assert_array_equal(found["observed_data"]["x"], before["observed_data"]["x"].to_numpy().ravel())
    row = {"datum": 2, "pixel_channel": 0, "pixel_row": 3, "pixel_column": 4}
    cell = np.ravel_multi_index((2, 0, 3, 4), (6, 1, 8, 8))
    replicate = found["posterior_predictive"]["x"].sel(cell=cell)
    np.testing.assert_array_equal(replicate, before["posterior_predictive"]["x"].sel(row))


@both_generations
def test_a_missing_cell_is_in_neither_group(generation):
    """ArviZ's PIT is the share of replicates at or below a cell: uniform of a right model, and 0 of NaN."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    x[rng.random(x.shape) < 0.5] = np.nan
    drawn = rng.normal(size=(1, 400, 30, 2))
    groups = {
        "posterior_predictive": xr.Dataset({"x": (("chain", "draw", "datum", "x_dim"), drawn)}),
        "observed_data": xr.Dataset({"x": (("datum", "x_dim"), x)}),
    }
    data = for_plot_ppc(container.build(groups, {}, generation=generation), generation=generation)
    found = container.groups_of(data, generation=generation)
    seen, replicated = found["observed_data"]["x"].to_numpy(), found["posterior_predictive"]["x"].to_numpy()[0]
    np.testing.assert_array_equal(seen, x[~np.isnan(x)])
    np.testing.assert_array_equal(replicated, drawn[0][:, ~np.isnan(x)])
    assert stats.kstest((replicated <= seen).mean(0), "uniform").pvalue > 1e-3


@pytest.mark.slow
@needs_tree
@pytest.mark.parametrize("function", ["plot_ppc_pit", "plot_ppc_dist"])
def test_the_predictive_figures_of_arviz_1_are_drawn_from_images(images, function):
    quiet_import("arviz_base")
    plots = quiet_import("arviz_plots")
    if not hasattr(plots, function):
        pytest.skip(f"this arviz_plots has no {function}")
    data = container.build(groups_of(images), {}, generation=TREE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = getattr(plots, function)(for_plot_ppc(data, generation=TREE))
    assert drawn.viz["figure"] is not None


def test_a_model_that_draws_no_data_has_no_cells():
    vae = pv.VAE((4,), latent_dim=1, likelihood="bernoulli-relaxed")
    with pytest.raises(ModelError, match=r"no replicates: .+"):
        for_plot_ppc(pv.inference_data(vae, torch.full((3, 4), 0.5), 10))


def said(function):
    """What a call warns of leave-one-out, and where."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return {(each.filename, each.category) for each in caught if "leave-one-out (loo)" in str(each.message)}


@pytest.mark.slow
def test_leave_one_out_warns_at_the_users_line_and_nothing_else_does(images, tmp_path):
    arviz = quiet_import(installed().statistics)
    here = {(__file__, UserWarning)}
    assert said(lambda: arviz.loo(images)) == here
    container.write_netcdf(images, tmp_path / "draws.nc")
    again = [container.read_netcdf(tmp_path / "draws.nc"), copy.deepcopy(images), images.isel(datum=[0, 1])]
    for data in [*again, pickle.loads(pickle.dumps(images))]:
        assert said(lambda data=data: arviz.loo(data)) == here
    assert not said(lambda: (images.log_likelihood, arviz.summary(images, var_names=["z"])))


def test_a_file_of_another_program_is_read_as_it_is(tmp_path):
    other = xr.Dataset({"y": (("chain", "draw", "datum"), np.zeros((1, 30, 2)))})
    container.write_netcdf(container.build({"log_likelihood": other}, {}), tmp_path / "other.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = container.read_netcdf(tmp_path / "other.nc")
    assert not said(lambda: type(back).__mro__[1])
    assert type(back).__module__.partition(".")[0] != "ppl_vae"


def test_zarr_holds_everything(images, tmp_path):
    pytest.importorskip("zarr")
    if installed() is not TREE:
        pytest.skip("ArviZ 0.x writes zarr of an older format")
    images.to_zarr(tmp_path / "draws.zarr", consolidated=False)
    with xr.open_datatree(tmp_path / "draws.zarr", engine="zarr", consolidated=False) as back:
        for name, group in groups_of(images).items():
            xr.testing.assert_identical(back[name].to_dataset().load(), group)
        assert back.attrs == images.attrs
