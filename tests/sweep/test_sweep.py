"""Sweeps against exact ELBOs; grids, Optuna, pruning; a worker and a sweep that are really killed."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from scipy import sparse

import ppl_vae as pv
from ppl_vae.data import Split
from ppl_vae.errors import CheckpointError, DataError, ModelError
from ppl_vae.sweep.judging import Judge, opened
from ppl_vae.sweep.pruning import is_behind
from ppl_vae.sweep.table import Point, as_table
from tests.inference.small_runs import small_data
from tests.sweep import cases
from tests.sweep.cases import SEEDS, linear

ROOT = Path(__file__).parents[2]
GRID = {"rate": [0.1, 1e-6]}
SECONDS = ["seconds"]


def swept(folder, recipe=linear, space=GRID, **options):
    return pv.sweep(recipe, space, small_data(200), SEEDS, out_dir=folder, progress=False, **options)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "grid"
    return folder, swept(folder, num_draws=64)


def exact_scores(folder, number, seed):
    """The ELBO of every judged datum in closed form, of the model that the trial has left."""
    _, held = Judge().parts(small_data(200))
    return pv.load(folder / "trials" / f"{number:04d}-seed-{seed}").elbo(held.x).detach().double().numpy()


@pytest.mark.slow
def test_trials_are_judged_by_the_elbo_of_data_that_none_was_trained_on(grid):
    folder, numbers = grid
    for number in (0, 1):
        for seed in SEEDS:
            exact = exact_scores(folder, number, seed)
            found = float(numbers.elbo.sel(point=number, seed=seed))
            error = float(numbers.elbo_stderr.sel(point=number, seed=seed))
            # Of the error, the part of the draws alone is between the two: the data are the same.
            assert abs(found - exact.mean()) < 0.5 * error
            assert error == pytest.approx(exact.std(ddof=1) / len(exact) ** 0.5, rel=0.3)


@pytest.mark.slow
def test_the_distance_to_the_best_has_the_error_of_the_difference(grid):
    folder, numbers = grid
    assert numbers.attrs["best"] == 0
    assert float(numbers.behind.sel(point=0)) == 0
    ahead, own = (np.stack([exact_scores(folder, number, seed) for seed in SEEDS]) for number in (0, 1))
    each = ahead.mean(0) - own.mean(0)
    of_seeds = sum(scores.mean(1).var(ddof=1) / len(SEEDS) for scores in (ahead, own))
    assert float(numbers.behind.sel(point=1)) == pytest.approx(each.mean(), rel=0.05)
    exact = (each.var(ddof=1) / len(each) + of_seeds) ** 0.5
    assert float(numbers.behind_stderr.sel(point=1)) == pytest.approx(exact, rel=0.1)


class OneMean(torch.nn.Module):
    """x_n ~ N(m, 1) in every coordinate, m ~ N(0, 1), under a guide that is nearly a point."""

    LOC, SCALE = 0.5, 1e-4

    def model(self, x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m.unsqueeze(-1) + torch.zeros_like(x), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("m", dist.Normal(self.LOC, self.SCALE))


def test_the_kl_of_global_sites_is_shared_by_the_trained_data():
    """Shared by the 20 held out, sweeps over models with global sites weighed it nine times too much."""
    judge, pair = Judge(num_draws=50), OneMean()
    training, held = judge.parts(small_data(200))
    found = judge(pair, held, len(training))
    loc, scale = pair.LOC, pair.SCALE
    kl = 0.5 * (loc**2 + scale**2 - 1) - math.log(scale)
    exact = dist.Normal(loc, 1.0).log_prob(held.x).sum(1).double() - kl / 180
    assert found.mean().item() == pytest.approx(exact.mean().item(), abs=1e-3)


def test_an_option_of_the_name_of_a_score_hides_no_score():
    """The objective of a recipe is its option elbo, and the number of its passes its option epochs."""
    scores = [torch.tensor([-3.0, -1.0]), torch.tensor([-4.0, -2.0])]
    result = {"status": "done", "epochs": 2, "seconds": 0.1}
    points = [Point(i, {"elbo": 10.0 + i, "epochs": 7, "point": 5}, [result], [scores[i]]) for i in (0, 1)]
    table = as_table(points, [0], "elbo", {})
    assert table["elbo"].values.tolist() == [[-2.0], [-3.0]]
    assert table["epochs"].values.tolist() == [[2.0], [2.0]]
    assert table["elbo_option"].values.tolist() == [10.0, 11.0]
    assert table["point"].values.tolist() == [0, 1]
    assert table.attrs["options"] == ["elbo_option", "epochs_option", "point_option"]


def test_seeds_are_no_option_of_a_function(tmp_path):
    with pytest.raises(ModelError, match="seeds= gives it"):
        pv.sweep(linear, {"seed": [0, 1]}, small_data(200), out_dir=tmp_path, progress=False)


def test_trials_do_not_train_on_what_judges_them_nor_look_at_the_test_split():
    data = pv.load_dataset("digits")
    training, held = Judge(held_out=0.2).parts(data)
    rows = {row.numpy().tobytes() for row in training.train.x}
    assert not rows & {row.numpy().tobytes() for row in held.x}
    assert training.test is held
    assert len(training.train) + len(held) == len(data.train)


@pytest.mark.slow
def test_a_finished_sweep_is_read_and_another_is_refused(grid):
    folder, numbers = grid
    again = swept(folder, num_draws=64, resume=True)
    xr.testing.assert_identical(again, numbers)
    stored = xr.open_dataset(folder / "sweep.nc", engine="h5netcdf")
    np.testing.assert_array_equal(stored.elbo, numbers.elbo)
    stored.close()
    with pytest.raises(CheckpointError, match="holds another sweep; go on with resume=True"):
        swept(folder)
    with pytest.raises(CheckpointError, match="judge was"):
        swept(folder, num_draws=65, resume=True)


@pytest.mark.slow
@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_other_labels_covariates_or_binarisation(tmp_path):
    """Points of both were put side by side in one table."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 4, generator=generator), torch.arange(30) % 3
    age = torch.rand(30, generator=generator)

    def asked(name, data, **options):
        settings = {"latent_dim": 1, "epochs": 1, "likelihood": "bernoulli-relaxed", **options}
        folder = tmp_path / name
        pv.sweep(
            name, {"lr": [0.1]}, data, out_dir=folder, options=settings, num_draws=2, resume=folder.exists(),
            progress=False,
        )  # fmt: skip

    beside = {"age": age.double()}
    for data, other, what, options in (
        (Split(x, y), Split(x, 2 - y), "labels", {"num_classes": 3}),
        (
            Split(x, None, covariates=beside),
            Split(x, covariates={"age": 1 + age}),
            "age",
            {"covariates": {"age": "continuous"}},
        ),
    ):
        asked("conditional-vae", data, **options)
        asked("conditional-vae", data, **options)
        with pytest.raises(
            CheckpointError, match=f"another sweep: {what} of the data is not what trial 0000-seed-0"
        ):
            asked("conditional-vae", other, **options)
        shutil.rmtree(tmp_path / "conditional-vae")
    grey = pv.data.Dataset("grey", Split(x, y), Split(x.round(), y))
    asked("vae", grey)
    # Labels that the recipe does not take may be others.
    asked("vae", replace(grey, train=Split(x, 2 - y)))
    with pytest.raises(CheckpointError, match=r"binarization \(none, now dynamic\) of the data"):
        asked("vae", replace(grey, binarization="dynamic"))


def test_threads_give_the_numbers_of_one_after_the_other(grid, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        numbers = swept(tmp_path / "threads", executor=executor, num_draws=64)
    xr.testing.assert_identical(numbers.drop_vars(SECONDS), grid[1].drop_vars(SECONDS))


@pytest.mark.slow
def test_optuna_is_told_the_scores_and_a_resumed_study_asks_the_same(tmp_path):
    optuna = pytest.importorskip("optuna")
    space = {"rate": optuna.distributions.FloatDistribution(1e-3, 0.3, log=True)}
    numbers = swept(tmp_path / "optuna", space=space, num_points=3)
    assert ((numbers.rate > 1e-3) & (numbers.rate < 0.3)).all()
    assert len(set(numbers.rate.to_numpy().tolist())) == 3

    def defined(trial):
        return {"rate": trial.suggest_float("rate", 1e-3, 0.3, log=True)}

    (tmp_path / "optuna" / "trials" / "0002-seed-1" / "trial.json").unlink()
    again = swept(tmp_path / "optuna", space=space, num_points=3, resume=True)
    xr.testing.assert_identical(again.drop_vars(SECONDS), numbers.drop_vars(SECONDS))
    same = swept(tmp_path / "defined", space=defined, num_points=3)
    np.testing.assert_array_equal(same.rate, numbers.rate)


@pytest.mark.slow
def test_a_trial_is_pruned_only_beyond_the_error(tmp_path):
    space = {"rate": [0.1, 1e-9, 0.1000001]}
    numbers = swept(tmp_path / "pruned", space=space, rungs=[1, 2], prune_beyond=4.0)
    assert numbers.status.isel(seed=0).to_numpy().tolist() == ["done", "pruned", "done"]
    assert numbers.epochs.sel(point=1).isin([1, 2]).all()
    assert np.isnan(numbers.elbo.sel(point=1)).all()
    assert numbers.attrs["best"] != 1


@pytest.mark.parametrize(("behind", "pruned"), [(0.3, False), (0.5, True)])
def test_pruning_compares_the_same_data(behind, pruned):
    """A spread of 10 nats between data is no error of a difference whose spread is 1: 0.1 of 100 data."""
    generator = torch.Generator().manual_seed(0)
    hard, noise = (torch.randn(100, generator=generator, dtype=torch.float64) for _ in range(2))
    noise = (noise - noise.mean()) / noise.std()
    assert is_behind(10 * hard, 10 * hard - behind + noise, beyond=4.0) is pruned


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path):
    numbers = pv.sweep(
        "vae", {"lr": [1e-3, 1e30]}, small_data(60), out_dir=tmp_path / "failed", progress=False,
        options={"latent_dim": 2, "likelihood": "gaussian", "epochs": 2, "batch_size": 16},
    )  # fmt: skip
    assert numbers.status.to_numpy().tolist() == [["done"], ["failed"]]
    assert "ConvergenceError" in (tmp_path / "failed" / "trials" / "0001-seed-0" / "trial.json").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {}}, "at least one option"),
        ({"space": {"rate": []}}, "'rate' has no values"),
        ({"space": {"rate": [1.0], "x": 3}}, "'rate' is a list of values"),
        ({"space": {"rate": 3}}, "expected a list of values or an Optuna distribution"),
        ({"num_points": 3}, "a grid has its own number"),
        ({"rungs": [2]}, "belong together"),
        ({"judge": "loss"}, "judge must be"),
        ({"held_out": 1.5}, "a fraction between 0 and 1"),
        ({"executor": 2.5}, "expected None, a number of workers"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, options, words):
    with pytest.raises(ModelError, match=words):
        swept(tmp_path / "refused", **options)


def test_a_recipe_or_an_option_that_nobody_knows_is_refused_at_once(tmp_path):
    for recipe, space, words in (
        ("vea", GRID, "unknown recipe 'vea'"),
        ("vae", {"latent": [1]}, "option 'latent'"),
    ):
        with pytest.raises(ModelError, match=words):
            pv.sweep(recipe, space, small_data(60), out_dir=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "data", [[["a"]], {"z": np.ones((9, 2))}, (np.ones((9, 2)),), [torch.ones(3, 2)].__iter__()]
)
def test_data_that_cannot_be_are_refused(tmp_path, data):
    with pytest.raises(DataError):
        pv.sweep(linear, GRID, data, out_dir=tmp_path / "x")


def test_a_sweep_takes_data_in_one_piece_as_fit_does(tmp_path):
    """Sparse matrices, data sets of named arrays and tuples were refused as no arrays."""
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20)
    frame = pd.DataFrame(x, [f"row {row}" for row in range(20)], ["a", "b"])
    frame.to_csv(tmp_path / "x.csv")
    for data in (frame, sparse.csr_matrix(x), xr.DataArray(x), xr.Dataset({"x": (("n", "d"), x)}), {"x": x}):
        found = opened(data)
        assert torch.equal(found.x, torch.from_numpy(x))
    assert opened(frame).names.tolist() == frame.index.tolist()
    for data in ((x, y), {"y": y, "x": x}, xr.Dataset({"x": (("n", "d"), x), "y": ("n", y)})):
        assert torch.equal(opened(data).y, torch.from_numpy(y))
    assert torch.equal(opened({"x": x, "site": y}).covariates["site"], torch.from_numpy(y))
    assert opened(tmp_path / "x.csv").column_names == ("a", "b")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_sweep_goes_on_as_if_it_had_not_been(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.sweep.cases", str(tmp_path / "killed"), "slow"]
    started = subprocess.Popen(command, cwd=ROOT, env=environment)
    first, until = tmp_path / "killed" / "trials" / "0001-seed-0" / "trial.json", time.monotonic() + 1500
    while not first.exists():
        assert started.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -9
    space = {"rate": [0.1, 0.01, 0.001]}
    assert not (tmp_path / "killed" / "sweep.nc").exists()
    before = first.read_bytes()
    resumed = swept(tmp_path / "killed", cases.slow, space, resume=True)
    assert first.read_bytes() == before
    whole = swept(tmp_path / "whole", cases.slow, space)
    xr.testing.assert_identical(resumed.drop_vars(SECONDS), whole.drop_vars(SECONDS))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("default")
def test_the_trial_of_a_killed_worker_is_run_again(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setenv("SWEEP_MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    space = {"rate": [0.1, 0.01]}
    numbers = swept(tmp_path / "dask", cases.dies_once, space, executor=2)
    assert (tmp_path / "mark").exists()
    xr.testing.assert_identical(
        numbers.drop_vars(SECONDS), swept(tmp_path / "here", space=space).drop_vars(SECONDS)
    )
