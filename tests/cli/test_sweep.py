"""``ppl-vae sweep``: a file of a grid becomes trials, a table and a figure; mistakes are named."""

import pytest
import xarray as xr

from tests.cli.test_cli import call

SPEC = """
recipe: vae
data: digits
data_options: {binarize: dynamic}
space: {latent-dim: [2, 3]}
options: {epochs: 1, network: {name: mlp, hidden: [8]}}
"""


@pytest.fixture
def spec(tmp_path):
    def write(text):
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.slow
def test_a_grid_from_a_file(spec, tmp_path, capsys):
    text = SPEC.replace("latent-dim", "latent_dim")
    assert call("sweep", spec(text), "--out", tmp_path / "out") == 0
    numbers = xr.load_dataset(tmp_path / "out" / "sweep.nc", engine="h5netcdf")
    assert numbers.latent_dim.to_numpy().tolist() == [2, 3]
    assert (tmp_path / "out" / "sweep.png").exists()
    assert (tmp_path / "out" / "trials" / "0001-seed-0" / "history.csv").exists()
    assert "behind the best" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recipe: vae", "field 'data' is missing"),
        (SPEC + "colour: red", "unknown field 'colour'"),
        (SPEC.replace("[2, 3]", "{type: normal}"), "unknown type 'normal'"),
        (SPEC.replace("latent-dim: [2, 3]", "lr: [1e-3], colour: [1]"), "option 'colour'"),
        (SPEC.replace("{latent-dim: [2, 3]}", "3"), "field 'space'"),
    ],
)
def test_mistakes_in_the_file_are_named(spec, tmp_path, capsys, text, words):
    assert call("sweep", spec(text), "--out", tmp_path / "out") == 2
    assert words in capsys.readouterr().err
