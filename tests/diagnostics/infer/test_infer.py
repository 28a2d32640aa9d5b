"""The ladder on guides with known faults: where each datum stops, and that its draws are the posterior's."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics.infer import infer
from ppl_vae.diagnostics.infer.convergence import nested_rhat
from ppl_vae.diagnostics.infer.weighted import systematic
from ppl_vae.errors import CheckpointError, DataError, ModelError
from tests.diagnostics.faulty_guides import BIAS, SIGMA, WEIGHT, Faulty, planted
from tests.scenarios import draw_data

QUIET = {"progress": False}


def counts_of(result):
    """Data per rung, 1 to 5."""
    return np.bincount(result.sample_stats["rung"].values, minlength=6)[1:].tolist()


def off(result, posterior, site="z"):
    """Differences of means and variances from N(m, V), in standard errors by the stated effective sizes."""
    z, ess = result.posterior[site].values[0], result.sample_stats["ess"].values[:, None]
    mean, variance = (each.detach().numpy() for each in (posterior.mean, posterior.variance))
    means = (z.mean(0) - mean) / np.sqrt(variance / ess)
    return means, ((z - mean) ** 2 / variance).mean(0) - 1, np.sqrt(2 / ess)


def assert_right(result, posterior, errors=4.0):
    means, variances, error = off(result, posterior)
    assert np.abs(means).max() < errors
    assert np.abs(variances / error).max() < errors


def guided(**fault):
    return pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA, guide=Faulty(**fault))


@pytest.mark.slow
def test_under_an_exact_guide_all_data_stop_at_the_first_rung():
    lg = planted("exact")
    x = draw_data(lg, 20)
    result = infer(lg, x, num_draws=500, **QUIET)
    assert counts_of(result) == [20, 0, 0, 0, 0]
    assert result.posterior["z"].dims == ("chain", "draw", "datum", "latent")
    assert np.isneginf(result.sample_stats["khat"]).all()
    assert_right(result, lg.posterior(x))


@pytest.mark.slow
def test_a_guide_with_four_fifths_of_the_spread_is_resampled():
    lg = guided(widen=0.8)
    x = draw_data(lg, 20)
    result = infer(lg, x, num_draws=1000, **QUIET)
    assert counts_of(result) == [0, 20, 0, 0, 0]
    assert_right(result, lg.posterior(x), errors=3.6)


def correlated_pair():
    """Posterior N(m, V) with correlation -0.95 under the best diagonal guide."""
    weight = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    # M = I + w w' / s^2: the correlation is -(1/s^2) / (1 + 1/s^2).
    return pv.LinearGaussianVAE(weight, torch.zeros(1, dtype=torch.float64), math.sqrt(1 / 19), guide="mean-field")


def mean_field(lg):
    exact = lg.posterior(torch.zeros(1, lg.weight.shape[0], dtype=torch.float64))
    precision = torch.linalg.inv(exact.covariance_matrix[0].detach())
    gain = exact.covariance_matrix[0].detach() @ lg.weight.detach().mT / lg.sigma.detach() ** 2

    def guide(x):
        with pyro.plate("data", len(x)):
            scale = (1 / precision.diagonal()).sqrt()
            pyro.sample("z", dist.Normal((x - lg.bias.detach()) @ gain.mT, scale).to_event(1))

    return lg.model, guide


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["shifted by four", "mean-field"])
def test_far_or_uncorrelated_guides_climb_and_come_out_right(fault):
    if fault == "mean-field":
        lg = correlated_pair()
        pair = mean_field(lg)
    else:
        lg = pair = guided(shift=4.0)
    x = draw_data(lg, 6)
    result = infer(pair, x, num_draws=1000, **QUIET)
    counts = counts_of(result)
    assert counts[0] == counts[1] == 0
    assert counts[2 if fault == "shifted by four" else 3] >= 5
    assert_right(result, lg.posterior(x))
    stats = result.sample_stats
    chained = stats["rung"].values == 4
    assert (stats["rhat"].values[chained] <= 1.01).all()
    assert (stats["ess"].values[chained] >= 400).all()
    assert np.isnan(stats["rhat"].values[~chained]).all()


def two_modes(scale):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.square(), scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sqrt(), scale / 2 / x.sqrt()).to_event(1))

    return model, guide


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_two_modes_with_the_guide_on_one_are_never_passed_over(scale):
    """Modes that chains cannot cross between are flagged; those that they can are both drawn."""
    x = torch.ones(8, 1, dtype=torch.float64)
    result = infer(two_modes(scale), x, num_draws=400, **QUIET)
    rung, reason = result.sample_stats["rung"].values, result.sample_stats["reason"].values
    share = (result.posterior["z"].values[0] < 0).mean((0, 2))
    assert ((rung == 5) | ((rung == 4) & (np.abs(share - 0.5) < 0.15))).all()
    assert all("missed" in str(each) or "R-hat" in str(each) for each in reason)


def rate_model(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(x.new_full((len(x), 1), 2.0), 1.0).to_event(1))
        shape = pyro.sample("other", dist.Normal(torch.zeros_like(rate), 1.0).to_event(1))
        pyro.sample("x", dist.Poisson(rate + 0 * shape).to_event(1), obs=x)


def rate_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("rate", dist.LogNormal(torch.zeros_like(x), 0.1).to_event(1))
        pyro.sample("other", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))


@pytest.mark.slow
def test_constrained_latents_of_several_sites_are_drawn_on_their_own_scale():
    """Gamma(2, 1) and a count: Gamma(2 + x, 2); the other site has its prior."""
    x = torch.tensor([[1.0], [9.0], [30.0]], dtype=torch.float64)
    result = infer((rate_model, rate_guide), x, num_draws=1000, **QUIET)
    assert set(result.sample_stats["rung"].values.tolist()) <= {2, 3, 4}
    rate, ess = result.posterior["rate"].values[0, ..., 0], result.sample_stats["ess"].values
    mean, variance = (2 + x[:, 0].numpy()) / 2, (2 + x[:, 0].numpy()) / 4
    assert np.abs((rate.mean(0) - mean) / np.sqrt(variance / ess)).max() < 4
    other = result.posterior["other"].values[0, ..., 0]
    assert np.abs(other.mean(0) * np.sqrt(ess)).max() < 4


@pytest.mark.slow
def test_a_seed_is_a_result_and_nothing_is_left_behind():
    lg, state = planted("narrow"), torch.get_rng_state()
    x = draw_data(lg, 3)
    first, second = (infer(lg, x, num_draws=60, seed=4, **QUIET) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(first.posterior["z"], second.posterior["z"])
    assert all(p.grad is None and p.requires_grad for p in lg.parameters())


@pytest.mark.slow
def test_what_cannot_be_is_refused(tmp_path):
    lg = planted("exact")
    x = draw_data(lg, 3)
    with pytest.raises(ModelError, match="draws must be an integer of at least 20"):
        infer(lg, x, num_draws=3)
    with pytest.raises(ModelError, match="num_samples must be at least draws"):
        infer(lg, x, num_draws=300, num_samples=200)
    with pytest.raises(ModelError, match="memory_limit: 1000 draws of 3 data take"):
        infer(lg, x, memory_limit=2**16)
    with pytest.raises(ModelError, match="deadline must be a positive number"):
        infer(lg, x, deadline=0)
    with pytest.raises(DataError, match="data are empty"):
        infer(lg, x[:0])
    infer(lg, x, num_draws=30, folder=tmp_path, **QUIET)
    with pytest.raises(CheckpointError, match="holds another inference \\(seed differs\\)"):
        infer(lg, x, num_draws=30, folder=tmp_path, seed=1, **QUIET)
    with pytest.raises(CheckpointError, match="holds another inference \\(data differs\\)"):
        infer(lg, x + 1, num_draws=30, folder=tmp_path, **QUIET)


@pytest.mark.slow
def test_a_deadline_leaves_data_that_a_folder_can_finish(tmp_path):
    lg = guided(shift=4.0)
    x = draw_data(lg, 3)
    whole = infer(lg, x, num_draws=50, folder=tmp_path / "a", **QUIET)
    again = infer(lg, x, num_draws=50, folder=tmp_path / "a", **QUIET)
    assert np.array_equal(whole.posterior["z"], again.posterior["z"])
    with pytest.raises(ModelError, match="no datum was reached"):
        infer(lg, x, num_draws=50, deadline=1e-9, **QUIET)


@pytest.mark.slow
def test_memory_is_divided_into_blocks_and_draws_stay_within_their_data(tmp_path):
    lg = planted("exact")
    x = draw_data(lg, 12)
    small = infer(lg, x, num_draws=40, memory_limit=2**17, folder=tmp_path, **QUIET)
    assert len(list(tmp_path.glob("block-*.safetensors"))) > 1
    assert_right(small, lg.posterior(x), errors=4.5)


# Pieces ------------------------------------------------------------------------------------------------------


def test_systematic_resampling_takes_each_as_often_as_its_weight_says():
    weight = torch.tensor([[0.1, 0.0], [0.6, 0.5], [0.3, 0.5]], dtype=torch.float64)
    index = systematic(weight, 100)
    for column, expected in zip(index.T, (weight * 100).T, strict=True):
        assert (torch.bincount(column, minlength=3) - expected).abs().max() <= 1


def test_nested_rhat_sees_superchains_that_stand_apart():
    generator = torch.Generator().manual_seed(0)
    together = torch.randn(16, 200, 2, 1, generator=generator)
    apart = together.clone()
    apart[12:, :, 1] += 3
    values = nested_rhat(apart, 4)
    assert values[0] < 1.01
    # B = 3^2 / 4, W = 1.
    assert values[1].item() == pytest.approx(math.sqrt(1 + 9 / 4), rel=0.03)


KILLED = """
import sys, torch
import ppl_vae as pv
from ppl_vae.diagnostics.infer import infer
from tests.diagnostics.infer.test_infer import guided
from tests.scenarios import draw_data
lg = guided(shift=1.5)
print("begun", flush=True)
infer(lg, draw_data(lg, 24), num_draws=50, memory_limit=400_000, folder=sys.argv[1], progress=False)
"""


@pytest.mark.slow
def test_killed_at_five_moments_and_continued_the_draws_are_the_same(tmp_path):
    lg = guided(shift=1.5)
    x = draw_data(lg, 24)
    settings = {"num_draws": 50, "memory_limit": 400_000, **QUIET}
    whole = infer(lg, x, **settings)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    kept = []
    for moment in (0.2, 0.7, 0.4, 1.1, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "run")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        process.stdout.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kept.append(len(list((tmp_path / "run").glob("block-*.safetensors"))))
    assert kept == sorted(kept)
    continued = infer(lg, x, folder=tmp_path / "run", **settings)
    assert np.array_equal(whole.posterior["z"], continued.posterior["z"])
    for name in ("rung", "khat", "rhat", "ess", "gradients", "reason"):
        np.testing.assert_array_equal(whole.sample_stats[name], continued.sample_stats[name])


@pytest.mark.slow
def test_draws_have_the_names_of_the_rows():
    oracle = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 3)), list("wxyz"))
    result = pv.infer(oracle, frame, 50, progress=False)
    assert result.posterior["datum"].values.tolist() == result.sample_stats["datum"].values.tolist() == list("wxyz")
