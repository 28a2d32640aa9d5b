"""Dimensions and columns in another order than before are refused, also in batches; names are those of x."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
NAMES = [f"c{i}" for i in range(20)]


def vae(shape=(3,)):
    return pv.VAE(shape, 1, likelihood={"name": "gaussian", "sigma": 1.0}, seed=0)


def fit(pair, data):
    return pv.fit(pair, data, epochs=1, progress=False)


def test_dimensions_in_another_order_are_refused(tmp_path):
    """Square images with rows and columns exchanged, and a square matrix, were taken for the training data's."""
    images = xr.DataArray(RNG.normal(size=(6, 4, 4)), dims=("t", "row", "col"))
    pair = vae((4, 4))
    fit(pair, images)
    pair.save(tmp_path / "vae")
    for model in (pair, pv.load(tmp_path / "vae")):
        for ask in (lambda x, m=model: pv.evaluate(m, x), model.encode):
            with pytest.raises(DataError, match=r"x: its dimensions are .* in another order: t, col, row where"):
                ask(images.transpose("t", "col", "row"))
            ask(images.rename(t="time"))
    square = xr.DataArray(X[:3], dims=("cell", "gene"), coords={"cell": list("pqr"), "gene": list("abc")})
    pair = vae()
    fit(pair, square)
    with pytest.raises(DataError, match="in another order: gene, cell where the model was trained on cell, gene"):
        pv.log_evidence(pair, square.T, num_samples=2)


def test_the_names_of_a_dataset_are_those_of_x():
    """They were those of the variable with most dimensions, so that genes had the names of an image's rows."""
    x = xr.DataArray(X, dims=("cell", "gene"), coords={"cell": NAMES, "gene": list("abc")})
    image = xr.DataArray(RNG.normal(size=(20, 1, 3, 3)), dims=("cell", "channel", "row", "col"))
    data = xr.Dataset({"x": x, "image": image.assign_coords(row=["top", "middle", "bottom"], channel=["grey"])})
    likelihood = {"name": "gaussian", "sigma": 1.0}
    pair = pv.make("im2spec", (3,), source={"image": (1, 3, 3)}, likelihood=likelihood, latent_dim=1, seed=0)
    drawn = pv.inference_data(pair, data, 2).observed_data
    assert drawn["pixel"].values.tolist() == list("abc")
    assert drawn["datum"].values.tolist() == NAMES


def test_names_of_several_levels_are_stored(tmp_path):
    """Numbers with tuples for names could not be written as netCDF."""
    levels = pd.MultiIndex.from_product([list("ab"), range(10)], names=["site", "visit"])
    x = xr.DataArray(X, dims=("cell", "gene"), coords=xr.Coordinates.from_pandas_multiindex(levels, "cell"))
    numbers = diagnostics.run_importance(vae(), x, 25)
    numbers.to_netcdf(tmp_path / "numbers.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "numbers.nc", engine="h5netcdf") as stored:
        assert stored["datum"].values[:2].tolist() == ["('a', 0)", "('a', 1)"]


FRAME = pd.DataFrame(X, columns=list("abc"))
MIXED = [FRAME[:8], FRAME.loc[8:, ["c", "b", "a"]]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda pair, data: pv.evaluate(pair, data),
        lambda pair, data: pv.log_evidence(pair, data, num_samples=2),
        lambda pair, data: diagnostics.run_importance(pair, data, 25),
        fit,
    ],
    ids=["evaluate", "log_evidence", "run_importance", "fit"],
)
def test_batches_whose_columns_stand_in_another_order_are_refused(ask):
    """The values of one column were taken for those of another."""
    with pytest.raises(DataError, match="in another order: c, b, a where"):
        ask(vae(), MIXED)
    ask(vae(), [FRAME[:8], FRAME[8:]])


def test_a_model_trained_on_batches_knows_the_order_of_their_columns():
    pair = vae()
    fit(pair, [FRAME[:8], FRAME[8:]])
    with pytest.raises(DataError, match="those of the training data in another order: c, b, a where"):
        pv.evaluate(pair, FRAME[["c", "b", "a"]])


def test_batches_of_a_model_of_named_columns_may_have_any_order():
    kinds = pv.models.Columns({name: {"name": "gaussian", "sigma": 1.0} for name in "abc"})
    pair = pv.VAE((3,), 1, likelihood=kinds, seed=0)
    kinds.look_at(torch.tensor(X))
    expected = pv.evaluate(pair, [FRAME[:8], FRAME[8:]]).elbo
    assert torch.equal(pv.evaluate(pair, MIXED).elbo, expected)


def test_arrays_with_names_of_columns_are_in_the_order_of_a_model_of_columns(tmp_path):
    """A frame is read by name and an array by place, so that names in another order were other columns' values."""
    kinds = {"a": "gaussian", "b": "gaussian", "c": {"name": "gaussian", "sigma": 1.0}}
    pair = pv.VAE((3,), 1, likelihood=pv.models.Columns(kinds), seed=0)
    array = xr.DataArray(X, dims=("cell", "gene"), coords={"gene": list("abc")})
    expected = pv.evaluate(pair, FRAME).elbo
    for same in (FRAME[["c", "a", "b"]], array, array.assign_coords(gene=list("pqr")), xr.Dataset({"x": array})):
        assert torch.equal(pv.evaluate(pair, same).elbo, expected)
    FRAME[["c", "b", "a"]].to_csv(tmp_path / "t.csv", index=False)
    stored = pv.load_dataset(tmp_path / "t.csv")
    for ask in (
        lambda: pv.evaluate(pair, array[:, ::-1]),
        lambda: pv.log_evidence(pair, xr.Dataset({"x": array[:, ::-1]}), num_samples=2),
        lambda: diagnostics.run_importance(pair, array[:, ::-1], 25),
        lambda: pair.encode(array[:, ::-1]),
        lambda: fit(pair, array[:, ::-1]),
        lambda: fit(pair, stored),
    ):
        with pytest.raises(DataError, match="the model's columns in another order: c, b, a where they are a, b, c"):
            ask()


def test_names_of_batches_come_out_again():
    """Frames in a list had numbers for the names of their rows and columns."""
    named = FRAME.set_axis(NAMES)
    numbered = [FRAME[:8], FRAME[8:].reset_index(drop=True)]
    model = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    expected = diagnostics.run_importance(model, X, 25)["khat"].values
    for batches, rows in (
        ([named[:8], named[8:]], NAMES),
        ([FRAME[:8], FRAME[8:]], list(range(20))),
        (numbered, list(range(20))),
    ):
        found = diagnostics.run_importance(model, batches, 25)
        assert found["datum"].values.tolist() == rows
        np.testing.assert_array_equal(found["khat"].values, expected)
        assert pv.inference_data(model, batches, 2).observed_data["pixel"].values.tolist() == list("abc")
    age = np.ones(20)
    pair = pv.make("conditional-vae", (3,), covariates={"age": "continuous"}, likelihood="gaussian", latent_dim=1)
    for batches in (
        [(named[:8], age[:8]), (named[8:], age[8:])],
        [named.assign(age=age)[:8], named.assign(age=age)[8:]],
    ):
        drawn = pv.inference_data(pair, batches, 2)
        assert drawn.posterior["datum"].values.tolist() == NAMES
        assert drawn.observed_data["pixel"].values.tolist() == list("abc")
