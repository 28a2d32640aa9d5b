"""``ppl-vae infer``: one netCDF file with draws for every datum, and a line that counts the rungs."""

import numpy as np
import pytest

import ppl_vae as pv
from ppl_vae.cli import main
from ppl_vae.diagnostics.arviz.container import groups_of, read_netcdf


def call(*words):
    """The exit code of a command line, in this process."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    options = ("--data", "digits", "--latent-dim", 2, "--epochs", 1, "--quiet", "--no-figures")
    assert call("train", "vae", *options, "--out", folder) == 0
    return folder


@pytest.mark.slow
def test_the_file_holds_what_the_library_gives(run, tmp_path, capsys):
    out = tmp_path / "posterior.nc"
    assert call("infer", run, "--out", out, "--first", 3, "--draws", 40, "--seed", 2) == 0
    assert "3 data: " in capsys.readouterr().out
    groups = groups_of(read_netcdf(out))
    assert groups["posterior"]["z"].shape == (1, 40, 3, 2)
    x = pv.load_dataset("digits", binarize="dynamic").test.x[:3]
    again = pv.infer(pv.load(run), x, num_draws=40, seed=2, progress=False)
    assert np.array_equal(again.posterior["z"], groups["posterior"]["z"])
    assert set(groups["sample_stats"]["rung"].values.tolist()) <= {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_a_mistake_is_one_line(run, tmp_path, capsys):
    assert call("infer", run, "--out", tmp_path / "a.nc", "--deadline", "-1") == 2
    assert capsys.readouterr().err.strip().endswith("deadline must be a positive number of seconds, got -1.0")
