"""What the speed benchmark computes from rounds: orders, rates, medians, ratios, operations."""

import math

import numpy as np
import pytest
import torch

from benchmarks.peers.contender import Run, Task, UnavailableError
from benchmarks.peers.interleave import interleave, orders, turn
from benchmarks.peers.products import Products, operations_per_image, products
from benchmarks.peers.spread import quartiles, ratio
from benchmarks.peers.workloads import CPU, CUDA, MNIST_CONV, MNIST_MLP, Workload, load_images, mlp


def small(**changes):
    parts = {"data": "digits", "event_shape": (1, 8, 8), "latent_dim": 3, "network": mlp(5), "batch": 4, "size": 8}
    return Workload("small", epochs=2, **{**parts, **changes})


# Rounds -------------------------------------------------------------------------------------------------------


def test_every_round_has_every_name_once_in_an_order_of_its_own():
    drawn = list(orders(["a", "b", "c", "d"], 50, seed=0))
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in drawn)
    assert len({tuple(order) for order in drawn}) > 10
    assert {order[0] for order in drawn} == {"a", "b", "c", "d"}
    assert drawn == list(orders(["a", "b", "c", "d"], 50, seed=0))
    assert drawn != list(orders(["a", "b", "c", "d"], 50, seed=1))


def test_turns_are_interleaved_and_a_failing_one_drops_out_with_its_reason():
    played, left = [], iter([1.0, 2.0])

    def take(name):
        played.append(name)
        return float(len(played))

    def fail():
        try:
            return next(left)
        except StopIteration:
            raise ValueError("no more\nsecond line") from None

    measured = interleave({"a": lambda: take("a"), "b": lambda: take("b"), "c": fail}, rounds=4)
    assert measured.failures == {"c": "ValueError: no more"}
    assert set(measured.rates) == {"a", "b"}
    assert sorted(played[:2]) == sorted(played[2:4]) == ["a", "b"]
    # In the order of the rounds: each contender's numbers rise.
    assert all(np.diff(rates).min() > 0 for rates in measured.rates.values())


def test_who_is_far_too_slow_drops_out_with_a_number():
    measured = interleave({"a": lambda: 7.0}, rounds=3, seconds_at_most=-1.0)
    assert measured.rates == {}
    assert "too slow to be interleaved: 7 images/s" in measured.failures["a"]


def test_a_turn_that_met_the_cores_apart_is_taken_again_and_told():
    distances, rates = iter([50.0, 400.0, 400.0, 50.0, 50.0, 60.0]), iter([1.0, 2.0, 3.0])
    measured = interleave({"a": lambda: next(rates)}, rounds=1, distance=lambda: next(distances))
    assert measured.rates == {"a": [3.0]}
    # Apart when the first turn ended; when the second began, though no longer when it ended.
    assert measured.apart == {"a": [1.0, 2.0]}


def test_a_machine_whose_cores_stay_apart_is_measured_all_the_same():
    rates = iter(range(5))
    measured = interleave({"a": lambda: float(next(rates))}, rounds=1, distance=lambda: 400.0)
    assert measured.rates == {"a": [4.0]}
    assert measured.apart == {"a": [0.0, 1.0, 2.0, 3.0]}


def test_the_first_epoch_of_a_turn_is_not_counted():
    class Training:
        def run(self, epochs):
            assert epochs == 3
            return Run(seconds=[100.0, 1.0, 3.0], losses=[0.0] * 3)

    assert turn(Training(), small())() == 2 * 8 / 4.0


# Medians and ratios -----------------------------------------------------------------------------------------------


def test_quartiles_of_known_numbers():
    found = quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.median, found.lower, found.upper) == (3.0, 2.0, 4.0)


def test_what_slows_a_round_cancels_in_the_ratio():
    speed = np.exp(np.random.default_rng(0).normal(size=9))
    found = ratio(3 * speed, speed)
    assert (found.median, found.lower, found.upper) == pytest.approx((3.0, 3.0, 3.0), rel=1e-12)


@pytest.mark.slow
def test_the_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    repeats, covered = 200, 0
    for seed in range(repeats):
        found = ratio(2 * np.exp(0.1 * draw.normal(size=9)), np.exp(0.1 * draw.normal(size=9)), seed)
        covered += found.lower <= 2 <= found.upper
    # Within four standard errors of a proportion, and not by being useless.
    assert covered / repeats > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)
    assert found.upper / found.lower < 1.5


def test_rounds_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="3 and 2 rounds"):
        ratio([1.0, 2.0, 3.0], [1.0, 2.0])


# Workloads and their products -------------------------------------------------------------------------------------


def test_operations_of_the_mnist_step():
    """Forward and weights 784-400, 400-20 twice, 20-400, 400-784; the input's gradient but for the first."""
    products_of_layers = 784 * 400 + 2 * 400 * 20 + 20 * 400 + 400 * 784
    expected = 2 * (3 * products_of_layers - 784 * 400)
    assert operations_per_image(MNIST_MLP) == expected == 3_280_000


def test_the_products_are_those_operations():
    workload = small()
    assert sum(part.operations for part in products(workload)) == workload.batch * operations_per_image(workload)
    for part in products(workload):
        torch.testing.assert_close(torch.mm(part.left, part.right, out=part.out), part.left @ part.right)


def test_the_peak_is_the_fastest_products():
    workload = small()
    alone = Products(Task(workload, torch.zeros(8, 1, 8, 8), {}))
    alone.run(2)
    alone.seconds = [[2.0] * len(alone.parts), [2.0] * len(alone.parts)]
    assert alone.peak() == max(part.operations for part in alone.parts)


def test_a_bound_is_stated_for_an_mlp_only():
    with pytest.raises(UnavailableError, match="MLP"):
        products(MNIST_CONV)


def test_a_short_last_batch_is_refused():
    with pytest.raises(ValueError, match="10 images are no multiple of 4"):
        small(size=10)


@pytest.mark.parametrize(
    "workload", [w for w in (*CPU, *CUDA) if w.size < 20_000], ids=lambda w: f"{w.name}-{w.size}"
)
def test_images_without_mnist(workload, monkeypatch):
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    x, words = load_images(workload, None)
    assert x.shape == (workload.size, *workload.event_shape)
    assert x.min() >= 0
    assert x.max() <= 1
    assert str(workload.size) in words
    assert ("noise" in words) == (workload.data == "mnist")
