"""Covariates of an archive reach training, evaluation and diagnosis of a conditional model."""

import json

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.cli.metrics import measure
from ppl_vae.cli.source import split_given
from ppl_vae.errors import DataError, ModelError

N = 60
KINDS = {"age": "continuous", "site": 3}


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    age, site = generator.normal(40, 15, N), generator.integers(0, 3, N)
    return {"x": generator.normal(size=(N, 4)) + site[:, None], "covariate_age": age, "covariate_site": site}


def test_an_archive_lends_its_covariates_to_the_programs_that_name_them(tmp_path):
    given = arrays()
    np.savez(tmp_path / "d.npz", **given)
    data = pv.load_dataset(tmp_path / "d.npz", value_range=None)
    assert data.train.covariates["site"].dtype == torch.int64
    order = data.train.x[:, 0].numpy()
    places = [int(np.abs(given["x"][:, 0] - value).argmin()) for value in order]
    np.testing.assert_allclose(data.train.covariates["age"], given["covariate_age"][places], rtol=1e-6)
    vae = pv.models.CovariateVAE((4,), 1, KINDS, network="linear", likelihood="gaussian")
    result = pv.fit(vae, data, epochs=1, progress=False, device="cpu")
    assert {"train_age_sha256", "test_site_sha256"} <= set(result.manifest["data"])
    test = data.test
    expected = pv.evaluate(vae, (test.x, test.covariates["age"], test.covariates["site"])).summary()["elbo"]
    assert measure(vae, data, "test", 1, 0)["elbo"] == pytest.approx(expected)
    assert json.dumps(vae.config["covariates"]) == json.dumps(KINDS)
    plain = pv.VAE((4,), 1, network="linear", likelihood="gaussian")
    assert split_given(data, "test", plain) is test.x


def test_archives_whose_covariates_do_not_fit(tmp_path):
    np.savez(tmp_path / "short.npz", **{**arrays(), "covariate_age": np.zeros(3)})
    with pytest.raises(
        DataError, match=r"covariate_age: expected numbers \[60, ...\], found dtype float64 and shape"
    ):
        pv.load_dataset(tmp_path / "short.npz", value_range=None)
    np.savez(tmp_path / "less.npz", x=arrays()["x"], covariate_age=arrays()["covariate_age"])
    data = pv.load_dataset(tmp_path / "less.npz", value_range=None)
    vae = pv.models.CovariateVAE((4,), 1, KINDS, network="linear", likelihood="gaussian")
    with pytest.raises((DataError, ModelError), match="'site'"):
        pv.fit(vae, data, epochs=1, progress=False)
