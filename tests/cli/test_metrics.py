"""What ``ppl-vae train`` and ``evaluate`` write into metrics.json: numbers of the data that they name."""

import io
import math

import pytest
import torch
from rich.console import Console

import ppl_vae as pv
from ppl_vae.cli.metrics import measure, metrics_table
from ppl_vae.data import Dataset, Split


def labelled(y):
    x = torch.rand(12, 1, 3, 4, generator=torch.Generator().manual_seed(0)).round()
    return Dataset("bits", Split(x, y), Split(x, y), binarization="threshold")


def test_where_labels_may_be_missing_the_elbo_and_its_bits_are_of_the_pixels_alone():
    """Of log p(x), as other models' are; a known label would cost -log p(y) more."""
    vae = pv.models.SemiSupervisedVAE((1, 3, 4), 2, 3, network={"name": "mlp", "hidden": (6,)}, hidden=(6,))
    data = labelled(torch.arange(12) % 3)
    found = measure(vae, data, "test", num_particles=5, seed=1)
    wanted = pv.evaluate(vae, data.test.x, num_particles=5, seed=1).elbo.mean().item()
    assert found["elbo"] == wanted
    assert found["bits_per_dim"] == -wanted / (torch.tensor(2.0).double().log().item() * 12)


def test_where_labels_are_needed_they_are_given():
    vae = pv.models.ConditionalVAE((1, 3, 4), 2, 3, network={"name": "mlp", "hidden": (6,)}, hidden=(6,))
    data = labelled(torch.arange(12) % 3)
    found = measure(vae, data, "test", num_particles=5, seed=1)
    assert found["elbo"] == pv.evaluate(vae, data.test.x, num_particles=5, seed=1, y=data.test.y).elbo.mean().item()


def test_the_kl_of_global_sites_is_shared_by_the_data_that_they_were_fitted_to():
    """By the twelve of the test split it would depend on how many are held out."""
    vae = pv.models.BayesianDecoderVAE((1, 3, 4), 2, network={"name": "mlp", "hidden": (6,)})
    found = measure(vae, labelled(None), "test", num_particles=5, seed=1, num_total=600)
    exact = found["log_likelihood"] - found["kl"] - found["global_kl"] / 600
    assert found["global_kl"] > 1
    assert found["elbo"] == pytest.approx(exact, rel=1e-5)


def told(numbers):
    """The table for a reader, as text."""
    written = io.StringIO()
    Console(width=120, file=written).print(metrics_table(numbers))
    return written.getvalue()


def test_an_autoencoder_has_no_elbo_and_no_bits():
    """Its codes cost bits that no prior tells, so that its likelihood alone would look better than any VAE."""
    vae = pv.make("autoencoder", (1, 3, 4), network={"name": "mlp", "hidden": (6,)}).vae
    found = measure(vae, labelled(None), "test", num_particles=5, seed=1)
    assert "bits_per_dim" not in found
    assert found["score"] == "reconstruction log likelihood"
    assert "reconstruction log likelihood" in told(found)
    assert "ELBO" not in told(found)


@pytest.mark.parametrize(
    ("likelihood", "is_mass"),
    [("poisson", True), ("bernoulli", True), ("bernoulli-relaxed", False), ("gaussian", False)],
)
def test_bits_are_those_of_masses_and_a_mass_is_called_no_density(likelihood, is_mass):
    vae = pv.VAE((1, 3, 4), 2, network={"name": "mlp", "hidden": (6,)}, likelihood=likelihood)
    found = measure(vae, labelled(None), "test", num_particles=5, seed=1)
    assert found["likelihood_is_mass"] == is_mass
    assert ("density" in told(found)) == (not is_mass)
    if is_mass:
        assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / math.log(2) / 12)
    else:
        assert "bits_per_dim" not in found


def test_missing_pixels_are_no_dimensions_of_the_bits():
    data = labelled(None)
    data.test.x[:, 0, 0] = torch.nan
    of = {"name": "missing-pixels", "of": "bernoulli"}
    vae = pv.VAE((1, 3, 4), 2, network={"name": "mlp", "hidden": (6,)}, likelihood=of)
    found = measure(vae, data, "test", num_particles=5, seed=1)
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / math.log(2) / 8)
