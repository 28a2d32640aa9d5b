"""Covariates of an archive reach training, evaluation and diagnosis of a conditional model."""

import json

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.cli.codes import drawn
from ppl_vae.cli.metrics import measure
from ppl_vae.cli.source import split_given
from ppl_vae.errors import DataError, ModelError
from tests.cli.test_cli import call

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


@pytest.mark.slow
def test_figures_of_a_run_are_drawn_given_the_covariates_of_its_test_data(tmp_path):
    """From images to spectra; training ended in a TypeError where it drew them."""
    options = ("--epochs", "1", "--data", "image-spectra", "--quiet", "--device", "cpu", "--out", tmp_path / "run")
    assert call("train", "im2spec", *options, "--set", 'source={"image": [1, 12, 12]}') == 0
    found = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert found == {"learning-curves", "reconstructions", "marginals", "pairs"}


def test_draws_are_given_covariates_by_their_place_or_by_name(tmp_path):
    given = arrays()
    np.savez(tmp_path / "d.npz", **given)
    data = pv.load_dataset(tmp_path / "d.npz", value_range=None)
    vae = pv.models.CovariateVAE((4,), 1, KINDS, network="linear", likelihood="gaussian")
    test = data.test
    assert len(test) < 10
    with torch.no_grad():
        torch.manual_seed(3)
        wanted = vae.sample(10, *(c.repeat(2)[:10] for c in (test.covariates["age"], test.covariates["site"])))
    assert torch.equal(drawn(vae, data, 10, 3), wanted)
    counts = pv.data.Split(torch.ones(5, 3), covariates={"library": torch.full((5,), 9.0)})
    sized = pv.models.CountVAE((3,), 1, library="observed", network="linear")
    assert drawn(sized, pv.data.Dataset("counts", counts, counts), 7, 0).shape == (7, 3)
    assert drawn(pv.VAE((3,), 1), pv.data.Dataset("counts", counts, counts), 7, 0).shape == (7, 3)
