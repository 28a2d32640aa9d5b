"""Data whose digits single precision loses are told by a warning, and only those."""

import warnings

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.containers import Labels
from ppl_vae.data.lost_digits import warn_of_lost_digits

NORMAL = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def told(x, dtype=torch.float32):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_lost_digits(x, dtype, Labels())
    return [str(each.message) for each in found]


@pytest.mark.parametrize(
    "x",
    [
        1.7e9 + 1000 * NORMAL,
        1e7 + 10 * NORMAL,
        2**25 + torch.arange(50)[:, None],
        torch.where(NORMAL > 1, torch.nan, 1e8 + NORMAL),
        1e8 + NORMAL[:, 0],
    ],
    ids=["seconds", "tens at ten million", "whole numbers", "missing cells", "scalars"],
)
def test_few_steps_between_the_values_are_told(x):
    (words,) = told(x)
    assert "single precision tells values between" in words


@pytest.mark.parametrize(
    "x",
    [
        1e5 + 10 * NORMAL,
        2**23 + torch.arange(50)[:, None],
        torch.full((50, 2), 0.1, dtype=torch.float64) + 1e-17 * NORMAL,
        torch.full((50, 2), 1e9, dtype=torch.float64),
        NORMAL.float() + 1e8,
        torch.full((50, 2), torch.nan, dtype=torch.float64),
    ],
    ids=["many steps", "exact", "rounding alone", "constant", "single already", "all missing"],
)
def test_others_are_not(x):
    assert told(x) == []
    assert told(x, torch.float64) == []


def test_fit_names_the_column():
    frame = pd.DataFrame({"age": NORMAL[:, 0].numpy(), "seen": 1.7e9 + np.arange(50.0)})
    vae = pv.VAE((2,), 1, network="linear", likelihood=pv.models.Columns({"age": "gaussian", "seen": "gaussian"}))
    settings = {"epochs": 1, "device": "cpu", "progress": False, "compile": False}
    with pytest.warns(UserWarning, match=r"steps of about 203, as at row 0, column 'seen'.*subtract an offset"):
        pv.fit(vae, frame, **settings)
    told_in_double = pv.fit(vae.double(), frame, **settings).history
    assert np.isfinite(told_in_double["loss"]).all()


def test_evaluation_tells_it_as_training_does():
    x = (1.7e9 + 1000 * NORMAL).numpy()
    vae = pv.VAE((2,), 1, network="linear", likelihood="gaussian")
    with pytest.warns(UserWarning, match="single precision tells values between"):
        pv.evaluate(vae, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pv.evaluate(vae.double(), x)


def of_a_year(x, year, group=None):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(pyro.param("slope", torch.ones(())) * z + 0 * year, 1.0), obs=x)


def encoder(x, year, group=None):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 0.7))


@pytest.mark.parametrize(
    "ask", [pv.evaluate, lambda pair, x: pv.fit(pair, x, epochs=1, device="cpu", progress=False)]
)
def test_covariates_are_told_as_data_are(ask):
    x, years = NORMAL[:, 0].float(), 1e9 + 0.001 * np.arange(50)
    with pytest.warns(UserWarning, match="year: single precision tells values between"):
        ask((of_a_year, encoder), {"x": x, "year": years})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask((of_a_year, encoder), {"x": x, "year": years - 1e9, "group": np.arange(50) + 2**30})


def test_a_file_whose_digits_a_data_set_cannot_hold_is_told(tmp_path):
    """All of 40 seconds became one number, and what was fitted to them saw no digits to tell of."""
    seconds = pd.DataFrame({"t": 1.6e9 + np.arange(40), "b": np.arange(40) % 7, "age": 1.6e9 + np.arange(40) / 2})
    seconds.loc[3, "t"] = np.nan
    seconds.to_csv(tmp_path / "s.csv", index=False)
    with pytest.warns(UserWarning, match="s.csv: single precision tells values between .* at row 0, column 't'"):
        pv.load_dataset(tmp_path / "s.csv", drop=["age"])
    with pytest.warns(UserWarning, match="s.csv: covariate 'age': single precision"):
        pv.load_dataset(tmp_path / "s.csv", covariates=["age"], drop=["t"])
    np.savez(tmp_path / "s.npz", x=seconds[["b"]].to_numpy() + 2**30)
    with pytest.warns(UserWarning, match="s.npz: single precision"):
        pv.load_dataset(tmp_path / "s.npz", value_range=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pv.load_dataset(tmp_path / "s.csv", drop=["t", "age"])
