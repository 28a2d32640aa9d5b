"""The explorable part of a report: its numbers are those of the diagnosis, its places those of the latents."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.report.chart import Latents, make_chart
from ppl_vae.diagnostics.report.explorable import Wishes, explorable_of
from ppl_vae.diagnostics.report.shading import Shading
from ppl_vae.errors import DataError, ModelError

pytest.importorskip("bokeh")
WEIGHT = torch.tensor([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0]])


@pytest.fixture(scope="module")
def diagnosis():
    """Of a model whose posterior is known, on rows of a table."""
    pair = pv.LinearGaussianVAE(WEIGHT, torch.zeros(4), 0.5, guide="exact")
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    return pv.diagnose(pair, x, y=np.arange(50) % 2, topics=["importance", "collapse"], progress=False)


@pytest.fixture(scope="module")
def found(diagnosis):
    return explorable_of(diagnosis, Wishes({"mine": np.arange(50.0)}, (0, 2)))


def posterior(diagnosis):
    """The exact posterior's means [n, 3] and covariance, by the textbook (Bishop 2006, equation 12.42)."""
    weight = WEIGHT.double()
    covariance = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + weight.T @ weight / 0.25)
    return (diagnosis.x.double() @ weight / 0.25 @ covariance).numpy(), covariance.numpy(), weight.numpy()


@pytest.mark.slow
def test_places_and_ellipses_are_those_of_the_exact_posterior(diagnosis, found):
    mean, covariance, _ = posterior(diagnosis)
    draws = diagnosis.effort.num_samples
    deviation = np.sqrt(np.diag(covariance)[[0, 2]])
    assert np.abs((found.scene.points - mean[:, [0, 2]]) / deviation).max() * np.sqrt(draws) < 4.5
    wanted = covariance[np.ix_([0, 2], [0, 2])]
    # Over 50 data the covariances of 1000 draws each have relative errors of sqrt(2 / 50000).
    np.testing.assert_allclose(found.scene.posterior.covariance.mean(0), wanted, atol=4 * 0.0064 * wanted.max())


def test_a_decoded_place_is_the_models_mean(diagnosis, found):
    mean, _, weight = posterior(diagnosis)
    place = np.array([[0.7, -1.2]])
    code = np.array([0.7, np.nan, -1.2])
    code[1] = found.decoder.chart.centre[1]
    assert abs(code[1] - mean[:, 1].mean()) < 0.05
    np.testing.assert_allclose(found.decoder(place)[0], weight @ code, rtol=1e-4, atol=1e-5)


def test_columns_are_the_numbers_of_the_diagnosis(diagnosis, found):
    columns = {column.title: column for column in found.scene.columns}
    numbers = diagnosis.numbers["importance"]
    np.testing.assert_array_equal(columns["ELBO"].values, numbers["elbo"])
    np.testing.assert_array_equal(columns["log p(x)"].errors, numbers["log_evidence_stderr"])
    np.testing.assert_array_equal(columns["mine"].values, np.arange(50.0))
    # Exact weights are constant: there is no tail, and no group has a k-hat.
    assert "k-hat" not in columns
    mean, covariance, _ = posterior(diagnosis)
    # KL of a Gaussian to N(0, I) (Kingma & Welling 2013, appendix B).
    kl = 0.5 * (np.trace(covariance) + (mean**2).sum(1) - 3 - np.linalg.slogdet(covariance)[1])
    assert np.abs((columns["KL"].values - kl) / columns["KL"].errors).max() < 4.5


def test_principal_components_are_those_of_numpy_and_known_up_to_nothing():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(1, 200, 4)) * [3.0, 0.1, 1.0, 0.1]
    chart = make_chart(Latents(values, {"z": (4,)}, True), "auto", 0)
    lengths, directions = np.linalg.eigh(np.cov(values[0], rowvar=False))
    np.testing.assert_allclose(np.abs(chart.directions), np.abs(directions[:, ::-1].T[:2]), atol=1e-10)
    assert (np.take_along_axis(chart.directions, np.abs(chart.directions).argmax(1)[:, None], 1) > 0).all()
    np.testing.assert_allclose(chart.points.var(0, ddof=1), lengths[::-1][:2])
    np.testing.assert_allclose(chart.project(chart.code(chart.points)), chart.points, atol=1e-10)


def test_shades_are_linear_and_missing_ones_are_grey():
    x = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[float("nan"), 4.0], [0.0, 1.0]]])
    shading = Shading.of(x)
    np.testing.assert_array_equal(shading(x.numpy())[0], [[0, 64], [128, 255]])
    assert shading(x.numpy())[1, 0, 0] == 128
    assert shading.notes == ("Missing values are grey.", "Black is 0, white 4.")


def test_a_column_that_does_not_fit_is_refused_by_name(diagnosis, tmp_path):
    with pytest.raises(DataError, match=r"column 'short': expected a value for each of the 50 diagnosed data"):
        diagnosis.report(tmp_path / "report.html", columns={"short": np.arange(3)})
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("layout", ["tsne", (0, 0), (0, 3), (0.0, 1)])
def test_an_unknown_layout_is_refused(diagnosis, layout):
    with pytest.raises(ModelError, match="layout: expected"):
        explorable_of(diagnosis, Wishes({}, layout))


@pytest.mark.slow
def test_a_pair_that_was_trained_further_has_no_map_but_a_report(tmp_path):
    vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian", network={"name": "mlp", "hidden": [8]}, seed=0)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    diagnosis = pv.diagnose(vae, x, topics=["importance"], progress=False)
    assert "ppl-vae-view-item" in diagnosis.report(tmp_path / "before.html").read_text()
    pv.fit(vae, x, epochs=1, progress=False)
    with pytest.raises(ModelError, match="has changed since it was diagnosed"):
        pv.explore(diagnosis)
    text = diagnosis.report(tmp_path / "after.html").read_text()
    assert "has changed since it was diagnosed" in text
    assert "ppl-vae-view-item" not in text


@pytest.mark.slow
def test_without_bokeh_the_page_says_what_to_install(diagnosis, tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_vae.diagnostics.report.html.is_installed", lambda: False)
    text = diagnosis.report(tmp_path / "report.html").read_text()
    assert "pip install bokeh" in text
    assert "ppl-vae-view-item" not in text
