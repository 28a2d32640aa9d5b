"""Diagnoses and draws on an executor: the numbers of one process, and one error for what cannot be sent."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae.diagnostics.topics import QUICK
from ppl_vae.errors import ModelError

TOPICS = ["importance", "collapse"]


def pair():
    generator = torch.Generator().manual_seed(1)
    return pv.LinearGaussianVAE(
        torch.randn(3, 2, generator=generator), torch.zeros(3), torch.tensor(0.5), guide="exact"
    )


def data(size=40):
    return torch.randn(size, 3, generator=torch.Generator().manual_seed(0))


def diagnosed(executor=None, **options):
    return pv.diagnose(pair(), data(), topics=TOPICS, effort=QUICK, executor=executor, progress=False, **options)


def drawn(executor=None, **options):
    # Small blocks, so that there are several.
    return pv.infer(
        pair(), data(), num_draws=50, executor=executor, memory_limit=1 << 18, progress=False, **options
    )


def same_numbers(a, b):
    assert list(a.numbers) == list(b.numbers) == TOPICS
    for topic in TOPICS:
        xr.testing.assert_identical(a.numbers[topic], b.numbers[topic])
    assert str(a) == str(b)


def same_draws(a, b):
    np.testing.assert_array_equal(a.posterior["z"], b.posterior["z"])
    for name in ("rung", "khat", "ess", "gradients", "reason"):
        np.testing.assert_array_equal(a.sample_stats[name], b.sample_stats[name])


@pytest.mark.slow
def test_a_diagnosis_on_an_executor_has_the_numbers_of_one_here():
    with ThreadPoolExecutor(1) as executor:
        same_numbers(diagnosed(executor), diagnosed())


@pytest.mark.slow
def test_draws_on_an_executor_are_those_of_one_here(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        there = drawn(executor, folder=tmp_path)
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
        # What is stored is read, not worked on again.
        same_draws(drawn(executor, folder=tmp_path), there)
    same_draws(there, drawn())


def test_a_topic_that_would_begin_too_late_is_left_out_elsewhere_too():
    with ThreadPoolExecutor(1) as executor:
        late = diagnosed(executor, seconds=1e-6)
    assert not late.numbers
    assert all("Not run" in verdict.words for verdict in late.verdicts)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_other_processes_give_the_same_numbers_and_what_cannot_be_sent_is_said():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.5))

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        same_numbers(diagnosed(executor), diagnosed())
        same_draws(drawn(executor), drawn())
        with pytest.raises(ModelError, match="topic 'importance': cannot be sent to another process"):
            pv.diagnose(
                (model, guide), data(), topics="importance", effort=QUICK, executor=executor, progress=False
            )
