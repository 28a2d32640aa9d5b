"""The closer look: which data are taken, and that their draws are those of the posterior."""

import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.infer.closer_look import CloserLook, look_closer, worst_of
from ppl_vae.diagnostics.report.explorable import Wishes, explorable_of
from tests.diagnostics.small_effort import SMALL

NOISE = 0.25


def test_the_worst_are_the_largest_of_every_class():
    khat = np.array([0.1, 0.9, math.nan, 0.5, math.inf, 0.2, 0.3])
    y = np.array(["a", "a", "a", "b", "b", "b", "a"])
    assert worst_of(khat, None, 3).tolist() == [1, 3, 4]
    assert worst_of(khat, y, 1).tolist() == [1, 4]
    assert worst_of(khat, y, 2).tolist() == [1, 3, 4, 6]
    # As many names as data are no classes.
    assert worst_of(np.arange(20.0), np.arange(20), 2).tolist() == [18, 19]
    assert worst_of(khat, y, 0).size == 0
    assert worst_of(np.full(4, math.nan), None, 2).size == 0


def model(x):
    """x is the square of z with noise: where x is large the posterior lies on both sides of 0, half on each."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.square(), NOISE).to_event(1), obs=x)


def guide(x):
    """Knows the positive side alone."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.clamp_min(0.01).sqrt(), 0.1).to_event(1))


@pytest.fixture(scope="module")
def diagnosis():
    # The valley at 0 is a third to two thirds of the summits: chains cross it, the guide's draws do not.
    x = torch.tensor([[0.24, 0.3], [0.27, 0.33], [0.36, 0.24], [0.3, 0.36]]).repeat(2, 1)
    effort = replace(SMALL, num_data=8, num_samples=1000, worst_data=2)
    return pv.diagnose(
        (model, guide), x, y=np.arange(8) % 2, topics=["importance", "reference"], effort=effort, progress=False
    )


@pytest.mark.slow
def test_the_modes_that_the_guide_misses_are_found_and_shown(diagnosis):
    closer = diagnosis.closer
    assert isinstance(closer, CloserLook)
    assert closer.draws["z"].shape == (300, len(closer.indices), 2)
    assert len(closer.indices) == 4
    assert closer.missed.all()
    assert all("a mode that the guide's draws have missed was found" in way for way in closer.ways)
    assert all(way.startswith("by HMC (R-hat 1.0") for way in closer.ways)
    # The model does not know the sign of z: half of the draws lie on either side, and the guide's all on one.
    assert np.abs((closer.draws["z"] > 0).mean(0) - 0.5).max() < 4.5 * 0.5 / math.sqrt(100)
    scene = explorable_of(diagnosis, Wishes()).scene
    group = next(group for group in scene.groups if group.title == "Mode missed by the guide")
    assert sorted(group.indices) == sorted(closer.indices)
    column = next(column for column in scene.columns if column.title == "missed mode")
    assert [i for i, value in enumerate(column.values) if value == "yes"] == closer.indices.tolist()
    assert [i for i, value in enumerate(column.values) if value == ""] == sorted(
        set(range(8)) - set(closer.indices.tolist())
    )
    for k, i in enumerate(closer.indices):
        np.testing.assert_allclose(scene.posterior.reference[int(i)], closer.draws["z"][:, k], rtol=1e-5)
        assert scene.posterior.ways[int(i)] == closer.ways[k]
    # Chains that stand in separate modes are said not to have settled.
    rhat = diagnosis.numbers["reference"]["rhat"].to_numpy()
    for i in set(range(len(rhat))) - set(closer.indices.tolist()):
        assert ("have not settled" in scene.posterior.ways[i]) == (rhat[i] >= 1.01)


@pytest.mark.slow
def test_draws_are_those_of_the_exact_posterior():
    """Of a linear Gaussian pair under a guide that is too narrow (Bishop 2006, equation 12.42)."""
    weight = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, -1.0]])
    exact = pv.LinearGaussianVAE(weight, torch.zeros(3), 0.5, guide="exact")

    def narrow(x):
        precision = torch.eye(2) + weight.T @ weight / 0.25
        covariance = torch.linalg.inv(precision)
        with pyro.plate("data", len(x)):
            mean = x @ weight / 0.25 @ covariance
            pyro.sample("z", dist.Normal(mean, 0.3 * covariance.diagonal().sqrt()).to_event(1))

    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    found = pv.diagnose(
        (exact.model, narrow), x, topics=["importance"], effort=replace(SMALL, worst_data=2), progress=False
    )
    closer = look_closer(found.case, found.numbers["importance"]["khat"].to_numpy(), None)
    assert len(closer.indices) == 2
    covariance = torch.linalg.inv(torch.eye(2) + weight.T @ weight / 0.25).numpy()
    mean = (found.x[closer.indices] @ weight / 0.25).numpy() @ covariance
    deviation = np.sqrt(np.diag(covariance))
    # Of 300 draws, of which infer asks 100 effective ones: means within 4.5 standard errors.
    assert np.abs((closer.draws["z"].mean(0) - mean) / deviation).max() < 4.5 / math.sqrt(100)
    np.testing.assert_allclose(closer.draws["z"].std(0) / deviation, 1.0, atol=4.5 / math.sqrt(200))


@pytest.mark.slow
def test_no_time_and_no_worst_data_are_no_closer_look(diagnosis):
    khat = diagnosis.numbers["importance"]["khat"].to_numpy()
    assert look_closer(replace(diagnosis.case, deadline=0.0), khat, None) is None
    few = replace(diagnosis.case, effort=replace(diagnosis.effort, worst_data=0))
    assert look_closer(few, khat, None) is None
