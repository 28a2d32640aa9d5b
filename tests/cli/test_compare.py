"""``ppl-vae compare``: what it prints and leaves behind, and what a mistake gets."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.cli.source import DataSource
from tests.cli.test_cli import call

NAMES = ("analytic-kl", "sticking-the-landing", "iwae")
QUICK = ("--repeats", 20, "--num-data", 8, "--estimators", ",".join(NAMES))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a model at its first weights, as train would leave it."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    pv.make("vae", (1, 8, 8), latent_dim=2, network={"name": "mlp", "hidden": [16]}).vae.save(folder)
    DataSource("digits", "dynamic").write(folder)
    return folder


def read(folder):
    with xr.open_dataset(folder / "comparison.nc", engine="scipy") as table:
        return table.load()


@pytest.mark.slow
def test_files_hold_what_the_library_gives(run, tmp_path, capsys):
    assert call("compare", run, *QUICK, "--seed", 3, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    table = read(tmp_path)
    ds = pv.load_dataset("digits", binarize="dynamic")
    x = ds.test.x[np.linspace(0, len(ds.test.x) - 1, 8).astype(int)]
    expected = pv.compare_estimators(pv.load(run), x, NAMES, num_repeats=20, seed=3, progress=False)
    assert list(table["estimator"].to_numpy()) == list(NAMES)
    assert list(table["group"].to_numpy()) == list(expected["group"].to_numpy())
    for name in ("value", "draw", "gradient_variance", "bias_evidence_stderr"):
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-5)
    for name in ("of_elbo", "of_guide", "vectorised"):
        assert table[name].dtype == bool
        assert (table[name] == expected[name]).all()
    about = table.attrs
    assert (about["data"], about["split"], about["binarization"], about["likelihood"]) == (
        "digits", "test", "dynamic", "bernoulli"
    )  # fmt: skip
    for key in ("elbo_reference", "skipped", "repeats", "num_data"):
        assert about[key] == expected.attrs[key]
    flat = " ".join(printed.split())
    assert " ".join(str(inf.check_estimators(table)).split()) in flat
    for name in NAMES:
        assert printed.count(name) >= 2
    assert str(tmp_path / "comparison.nc") in printed


@pytest.mark.slow
def test_figures_are_drawn(run, tmp_path):
    assert call("compare", run, *QUICK, "--out", tmp_path) == 0
    for name in ("estimator-cost", "estimator-values"):
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert min(image.size) > 300


@pytest.mark.slow
def test_a_run_is_its_own_place(run):
    assert call("compare", run, *QUICK, "--split", "train", "--num-particles", 3) == 0
    table = read(run)
    assert table.attrs["split"] == "train"
    assert (table["num_draws"] == 3).all()


@pytest.mark.slow
def test_a_recipe_is_compared_at_its_first_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = ("beta-vae", "--repeats", 5, "--num-data", 4, "--estimators", "analytic-kl")
    assert call("compare", *recipe) == 0
    table = read(tmp_path / "runs" / "compare-beta-vae-digits")
    assert table.attrs["model"] == "beta-vae"
    assert table.attrs["binarization"] == "dynamic"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nosuch",), "nosuch: neither the folder of a run nor a recipe"),
        (("vae", "--estimators", "iwa"), "unknown estimator 'iwa'; did you mean 'iwae'"),
        (("vae", "--estimators", "rloo", "--num-particles", "1"), "num_particles must be at least 2"),
        (("vae", "--data", "nodata"), "unknown data set 'nodata'"),
        (("vae", "--repeats", "1"), "'--repeats'"),
        (("vae", "--estimators", "iwae,iwae", "--repeats", "3"), "asked for twice"),
    ],
)
def test_a_mistake_is_one_line_and_code_two(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("compare", *args) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("ppl-vae: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_no_run(tmp_path, capsys):
    assert call("compare", tmp_path, *QUICK) == 2
    assert "config.json" in capsys.readouterr().err
