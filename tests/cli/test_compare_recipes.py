"""``ppl-vae compare-recipes``: what it prints and leaves behind, and what a mistake gets."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import ppl_vae as pv
from ppl_vae.recipe_comparison import DESCRIPTIONS
from tests.cli.test_cli import call

SMALL = 'latent_dim=2,network={"name":"mlp"}'
PAIR = (f"vae:{SMALL}", "beta-vae:beta=16,latent_dim=2")
QUICK = ("--epochs", 1, "--num-particles", 2, "--evidence-draws", 5, "--device", "cpu")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    assert call("compare-recipes", *PAIR, *QUICK, "--seeds", 2, "--out", folder) == 0
    return folder


def read(folder):
    with xr.open_dataset(folder / "recipes.nc", engine="scipy") as table:
        return table.load()


@pytest.mark.slow
def test_the_files_hold_what_the_library_gives(out):
    table = read(out)
    entries = [
        (PAIR[0], "vae", {"latent_dim": 2, "network": {"name": "mlp"}}),
        (PAIR[1], "beta-vae", {"beta": 16, "latent_dim": 2}),
    ]
    ds = pv.load_dataset("digits", binarize="dynamic")
    expected = pv.compare_recipes(
        entries, ds, (0, 1), epochs=1, num_particles=2, num_samples=5, device="cpu", progress=False
    )
    assert list(table["recipe"].to_numpy()) == list(PAIR)
    assert list(table["name"].to_numpy()) == ["vae", "beta-vae"]
    for name in DESCRIPTIONS.keys() - {"seconds"}:
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-6)
    assert (table.attrs["data"], table.attrs["binarization"]) == ("digits", "dynamic")
    rows = pd.read_csv(out / "recipes.csv")
    assert len(rows) == 4
    np.testing.assert_allclose(rows["elbo"], expected["elbo"].to_numpy().ravel(), rtol=1e-6)


@pytest.mark.slow
def test_the_plane_is_drawn(out):
    with Image.open(out / "figures" / "rate-distortion.png") as image:
        assert min(image.size) > 300


@pytest.mark.slow
def test_the_table_is_printed_with_the_spread_over_seeds(tmp_path, capsys):
    assert call("compare-recipes", "vae", *QUICK, "--seeds", 2, "--out", tmp_path) == 0
    printed, table = capsys.readouterr().out, read(tmp_path)
    mean, spread = (float(part) for part in (table["elbo"].mean(), table["elbo"].std(ddof=1)))
    assert f"{mean:.2f}±{spread:.2f}" in printed
    assert "mean ± sd of 2 seeds" in " ".join(printed.split())
    assert str(tmp_path / "recipes.nc") in printed


@pytest.mark.slow
def test_numbers_are_whole_on_a_narrow_terminal_and_json_keeps_its_commas(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    label = 'vae:network={"name":"mlp","hidden":[8,9]},latent_dim=2'
    assert call("compare-recipes", label, *QUICK, "--seeds", 2, "--out", tmp_path) == 0
    printed, table = capsys.readouterr().out, read(tmp_path)
    for name in ("elbo", "rate", "distortion", "log_evidence"):
        mean, spread = float(table[name].mean()), float(table[name].std(ddof=1))
        assert f"{mean:.2f}±{spread:.2f}" in printed
    ds = pv.load_dataset("digits", binarize="dynamic")
    options = {"network": {"name": "mlp", "hidden": [8, 9]}, "latent_dim": 2}
    expected = pv.compare_recipes(
        {label: ("vae", options)},
        ds,
        (0, 1),
        epochs=1,
        num_particles=2,
        num_samples=5,
        device="cpu",
        progress=False,
    )
    np.testing.assert_allclose(table["elbo"], expected["elbo"], rtol=1e-6)


@pytest.mark.slow
def test_several_likelihoods_get_no_plane_and_are_told_why(tmp_path, capsys):
    grey = ("continuous-bernoulli-vae", 'vae:likelihood="bernoulli-relaxed"')
    assert call("compare-recipes", *grey, *QUICK, "--seeds", 1, "--out", tmp_path) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "no rate-distortion plane: distortions under bernoulli-relaxed, continuous-bernoulli do not comp" in told
    assert read(tmp_path).attrs["binarization"] == "none"
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("vea",), "unknown recipe 'vea'; did you mean 'vae'"),
        (("vae:bata=2",), "unknown option 'bata'"),
        (("vae:beta",), "vae:beta: expected KEY=VALUE, found 'beta'"),
        (("vae", "vae"), "'vae' is asked for twice"),
        (
            ("vae", "sigma-vae"),
            "several binarisations: dynamic (vae), none (sigma-vae); choose one with --binarize",
        ),
        (("vae", "--seeds", "0"), "'--seeds'"),
        (("vae", "--data", "nodata"), "unknown data set 'nodata'"),
        ((), "RECIPE"),
    ],
)
def test_a_mistake_is_one_line_and_code_two(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("compare-recipes", *args) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("ppl-vae: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
