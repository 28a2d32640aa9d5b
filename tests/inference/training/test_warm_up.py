"""A schedule that is longer than the run is told, and nothing is chosen or stopped before it has ended."""

import itertools
import warnings
from types import SimpleNamespace

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.inference.objectives import schedules
from ppl_vae.inference.training import loop
from ppl_vae.inference.training.warm_up import end_of_warm_up
from tests.inference.small_runs import STEPS, small_data, small_vae, train


def annealed(schedule):
    return inf.Annealed("analytic-kl", schedule)


@pytest.mark.parametrize(
    ("elbo", "message"),
    [
        (
            annealed(schedules.linear(1000)),
            r"Annealed.schedule = linear.* takes 1,000 steps, .* has 12.*at 0\.011 of 1",
        ),
        (annealed(schedules.cyclical(100)), "takes 100 steps, but the run has 12"),
        (inf.Capacity("analytic-kl", 1.0, schedules.linear(50, 0.0, 25.0)), "Capacity.capacity .* takes 50 steps"),
        (annealed(lambda step: (step / 200).clamp(max=1.0)), r"takes about 2\d\d steps"),
    ],
)
def test_a_schedule_longer_than_the_run_is_told(elbo, message):
    with pytest.warns(UserWarning, match=message):
        result = train(small_vae(), small_data(), elbo=elbo)
    (described,) = result.manifest["schedules"]
    assert described["run_steps"] == 3 * STEPS
    assert described["ends_at_step"] > 3 * STEPS


def test_a_schedule_that_ends_in_the_run_is_in_the_manifest_alone():
    result = train(small_vae(), small_data(), elbo=annealed(schedules.linear(8)))
    assert result.manifest["schedules"] == [
        {"of": "Annealed.schedule", "schedule": "linear(steps=8, start=0.0, end=1.0)", "ends_at_step": 8,
         "run_steps": 12, "last_value": 1.0},
    ]  # fmt: skip


def test_batches_of_unknown_number_are_told_of_afterwards():
    class Batches:
        def __iter__(self):
            return iter(small_data().split(16))

    with pytest.warns(UserWarning, match="takes 1,000 steps, but the run has 12"):
        train(small_vae(), Batches(), elbo=annealed(schedules.linear(1000)))


def test_a_rate_that_never_rises_is_told_and_one_that_falls_is_not():
    with pytest.warns(UserWarning, match="schedule = linear.* takes 1,000 steps"):
        train(small_vae(), small_data(), schedule=schedules.linear(1000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(small_vae(), small_data(), schedule=schedules.cosine(1000))


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (schedules.linear(7.5), 8),
        (schedules.exponential(0.5, 3), 0),
        (lambda step: 0.3 + 0 * step, 0),
        (lambda step: torch.where(step < 20, 0.0, 1.0), 20),
        (lambda step: torch.sin(step.double()), 0),
    ],
)
def test_where_schedules_end(schedule, end):
    assert end_of_warm_up(annealed(schedule)) == end


def test_patience_does_not_stop_a_warm_up():
    """At a rate of 0 no epoch is better than another one: patience stops as soon as it may."""
    still = {"schedule": lambda step: 0.0, "patience": 2, "epochs": 30, "validation": 0.2}
    assert train(small_vae(), small_data(), **still).epochs_run == 3
    ends = schedules.linear(3 * 3)
    result = train(small_vae(), small_data(), elbo=annealed(ends), **still)
    # Three batches an epoch: the schedule ends with the third, whose score is the first that counts.
    assert (result.best_epoch, result.epochs_run) == (3, 5)


@pytest.mark.slow
def test_no_epoch_of_the_warm_up_is_the_best(monkeypatch):
    scores = itertools.count(-1, -1)

    def falling(*_, **__):
        elbo = float(next(scores))
        return SimpleNamespace(summary=lambda: {"elbo": elbo, "log_likelihood": elbo, "kl": 0.0})

    monkeypatch.setattr(loop, "evaluate_once", falling)
    options = {"epochs": 6, "validation": 0.2}
    assert train(small_vae(), small_data(), **options).best_epoch == 1
    # Three batches an epoch: the schedule ends in the fourth.
    assert train(small_vae(), small_data(), elbo=annealed(schedules.linear(11)), **options).best_epoch == 4
    with pytest.warns(UserWarning, match="no epoch is chosen as the best, so the last weights are kept"):
        result = train(small_vae(), small_data(), elbo=annealed(schedules.linear(99)), **options)
    assert result.best_epoch == 6


@pytest.mark.slow
def test_the_choice_after_a_warm_up_is_kept_over_a_stop(tmp_path):
    options = {"elbo": annealed(schedules.linear(9)), "validation": 0.2, "lr": 0.3}
    whole = train(small_vae(), small_data(), epochs=6, **options)
    train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, **options)
    assert train(small_vae(), small_data(), epochs=6, out_dir=tmp_path, resume=True, **options).best_epoch == (
        whole.best_epoch
    )
