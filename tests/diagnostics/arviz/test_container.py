"""One container for draws under either generation of ArviZ."""

import contextlib
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from ppl_vae.diagnostics.arviz import container as inference_data
from ppl_vae.diagnostics.arviz.container import CLASSIC, TREE
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import SEAL_BYTES
from tests.damage import damaged_bytes, streams
from tests.diagnostics.arviz.generations import both_generations, needs_classic, needs_tree


@pytest.fixture
def groups():
    draws = np.random.default_rng(0).normal(size=(1, 20, 3, 2))
    dims = ("chain", "draw", "datum", "latent")
    return {
        "posterior": xr.Dataset({"z": (dims, draws)}, {"latent": ["a", "b"]}, {"site": "z"}),
        "prior": xr.Dataset({"z": (("chain", "draw", "latent"), draws[:, :, 0])}),
        "observed_data": xr.Dataset({"x": (("datum",), np.arange(3.0))}),
    }


@both_generations
def test_groups_come_out_as_they_went_in(groups, generation):
    data = inference_data.build(groups, {"seed": 3}, generation=generation)
    ancestors = [f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(data).__mro__]
    assert generation.container in ancestors
    assert data.attrs["seed"] == 3
    # z has another rank in the prior than in the posterior, which ArviZ's own from_dict refuses.
    assert data["posterior"]["z"].dims == ("chain", "draw", "datum", "latent")
    assert data["prior"]["z"].dims == ("chain", "draw", "latent")
    found = inference_data.groups_of(data, generation=generation)
    assert list(found) == list(groups)
    for name, group in groups.items():
        xr.testing.assert_identical(found[name], group)


@pytest.mark.slow
@both_generations
def test_a_file_holds_everything(groups, generation, tmp_path):
    path = tmp_path / "draws.nc"
    inference_data.write_netcdf(
        inference_data.build(groups, {"data": "digits"}, generation=generation), path, generation=generation
    )
    back = inference_data.read_netcdf(path, generation=generation)
    assert back.attrs["data"] == "digits"
    for name, group in inference_data.groups_of(back, generation=generation).items():
        xr.testing.assert_identical(group, groups[name])
    # What was read is no longer tied to the file.
    inference_data.write_netcdf(back, path, generation=generation)


@pytest.mark.slow
@needs_classic
@pytest.mark.parametrize(("written", "read"), [(CLASSIC, TREE), (TREE, CLASSIC)], ids=["0.x to 1.x", "1.x to 0.x"])
def test_one_generation_reads_the_files_of_the_other(groups, written, read, tmp_path):
    path = tmp_path / "draws.nc"
    inference_data.write_netcdf(inference_data.build(groups, {}, generation=written), path, generation=written)
    back = inference_data.groups_of(inference_data.read_netcdf(path, generation=read), generation=read)
    assert {name: group.equals(groups[name]) for name, group in back.items()} == dict.fromkeys(groups, True)


@both_generations
def test_independent_draws_have_rhat_one_and_their_number(generation):
    draws = np.random.default_rng(1).normal(size=(4, 1000, 2, 3))
    rhat = inference_data.rhat(draws, generation=generation)
    ess = inference_data.ess(draws, generation=generation)
    assert rhat.shape == ess.shape == (2, 3)
    assert (abs(rhat - 1) < 0.005).all()
    assert (abs(ess / 4000 - 1) < 0.15).all()


@both_generations
def test_the_chains_of_an_autoregression_have_the_ess_of_theory(generation):
    """x_t = phi x_{t-1} + e_t has ESS = S (1 - phi) / (1 + phi) for its mean."""
    phi, rng = 0.6, np.random.default_rng(2)
    noise = rng.normal(size=(4, 5000))
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, draws.shape[1]):
        draws[:, t] = phi * draws[:, t - 1] + noise[:, t]
    expected = draws.size * (1 - phi) / (1 + phi)
    assert inference_data.ess(draws, "mean", generation=generation) == pytest.approx(expected, rel=0.12)


@both_generations
def test_an_effective_size_has_no_unit(generation):
    """ArviZ by itself counts 4000 independent draws of a mean at 1e-20, and of a deviation at 1e-10."""
    chains = np.random.default_rng(5).normal(size=(4, 1000)).cumsum(axis=1)
    draws = chains[..., None] * np.array([1.0, 1e-10, 1e-20, 1e-300, 1e30])
    for method in ("mean", "sd", "bulk", "tail"):
        sizes = inference_data.ess(draws, method, generation=generation)
        assert sizes == pytest.approx(sizes[0])
        assert sizes[0] < 100
    rhat = inference_data.rhat(draws, generation=generation)
    assert rhat == pytest.approx(rhat[0])


@both_generations
def test_chains_apart_are_seen(generation):
    draws = np.random.default_rng(3).normal(size=(4, 500, 2))
    draws[0, :, 1] += 3.0
    rhat = inference_data.rhat(draws, generation=generation)
    assert rhat[0] < 1.01
    assert rhat[1] > 1.2


@needs_classic
@needs_tree
def test_the_two_generations_agree():
    draws = np.random.default_rng(4).normal(size=(3, 400, 2)).cumsum(axis=1)
    for function in (inference_data.rhat, inference_data.ess):
        np.testing.assert_allclose(
            function(draws, generation=CLASSIC), function(draws, generation=TREE), rtol=1e-10
        )


def test_without_chains_nothing_is_guessed():
    with pytest.raises(ModelError, match=r"rhat: expected draws of shape \[chain, draw, \*event\], got \[5\]"):
        inference_data.rhat(np.zeros(5))


@both_generations
def test_a_file_that_is_none(tmp_path, generation):
    (tmp_path / "text.nc").write_text("nothing of the kind")
    for name in ("absent.nc", "text.nc"):
        with pytest.raises(CheckpointError, match=name):
            inference_data.read_netcdf(tmp_path / name, generation=generation)


@pytest.mark.slow
def test_arviz_is_imported_only_when_it_is_needed_and_never_warns(tmp_path):
    script = (
        "import sys, ppl_vae; from ppl_vae.diagnostics.arviz import container as i;"
        "assert not [m for m in sys.modules if m.startswith('arviz')];"
        "i.build({}, {}); assert 'arviz' in sys.modules or i.installed() is i.TREE"
    )
    # A cache of its own, so that the warning of the day is due.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture
def stored(groups, tmp_path):
    path = tmp_path / "good.nc"
    inference_data.write_netcdf(inference_data.build(groups, {"data": "digits"}), path)
    return path


def require_law(path, groups, number, seed):
    """A damaged file is refused by one error of ours, or holds what was written."""
    refused = 0
    for rng in streams(number, seed):
        bad = path.with_name("bad.nc")
        bad.write_bytes(damaged_bytes(path.read_bytes(), rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                back = inference_data.read_netcdf(bad)
        except CheckpointError:
            refused += 1
            continue
        found = inference_data.groups_of(back)
        assert found.keys() == groups.keys()
        for name, group in groups.items():
            xr.testing.assert_identical(found[name], group)
    assert refused > number / 2


@pytest.mark.slow
def test_a_damaged_file_is_refused_or_was_not_damaged(stored, groups):
    require_law(stored, groups, number=40, seed=0)


def test_a_file_whose_end_was_lost_is_refused(stored):
    """As after a loss of power: the blocks that were not written yet are zeros."""
    content = stored.read_bytes()
    for lost in (SEAL_BYTES, 4096):
        stored.write_bytes(content[:-lost] + bytes(lost))
        with pytest.raises(CheckpointError, match=r"good\.nc: damaged: its checksum \(SHA-256\) was lost"):
            inference_data.read_netcdf(stored)


@pytest.mark.slow
def test_many_damaged_files_are_refused_or_were_not_damaged(stored, groups):
    require_law(stored, groups, number=500, seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_without_a_seal_is_read_and_damage_of_it_is_one_error(stored, groups):
    """As version 0.1.0 and other programs write it; what breaks it is named all the same."""
    content = stored.read_bytes()[:-SEAL_BYTES]
    stored.write_bytes(content)
    xr.testing.assert_identical(
        inference_data.groups_of(inference_data.read_netcdf(stored))["posterior"], groups["posterior"]
    )
    for rng in streams(40, 2):
        stored.write_bytes(damaged_bytes(content, rng))
        with warnings.catch_warnings(), contextlib.suppress(CheckpointError):
            warnings.simplefilter("ignore")
            inference_data.read_netcdf(stored)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(stored, groups):
    before = stored.read_bytes()

    def full(data, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    broken = replace(inference_data.installed(), write=full)
    with pytest.raises(CheckpointError, match=r"good\.nc: could not be written \(No space left on device\)"):
        inference_data.write_netcdf(inference_data.build(groups, {}), stored, generation=broken)
    assert [path.read_bytes() for path in stored.parent.iterdir()] == [before]
